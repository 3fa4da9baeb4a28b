use super::*;
use std::sync::mpsc::{self, Receiver, SyncSender};

/// Gives each piece to the test, which decides the result of the write.
struct Pipe {
    pieces: SyncSender<String>,
    results: Receiver<io::Result<()>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pieces.send(String::from_utf8(bytes.into()).unwrap()).map_err(io::Error::other)?;
        let result = self.results.recv().map_err(io::Error::other)?;
        result.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start() -> (Queue, Receiver<String>, SyncSender<io::Result<()>>) {
    let queue = Queue::default();
    let (pieces, written) = mpsc::sync_channel(0);
    let (answers, results) = mpsc::sync_channel(0);
    let pipe = Pipe { pieces, results };
    queue.write_to(pipe, || {}, |lost| format!("{lost} lost\n")).unwrap();
    (queue, written, answers)
}

fn lost(queue: &Queue) -> u64 {
    queue.lost().load(Relaxed)
}

#[test]
fn logging_never_waits_and_the_number_of_lost_lines_is_written() {
    let (queue, written, answers) = start();
    queue.push("first\n");
    assert_eq!(written.recv().unwrap(), "first\n");
    // The pipe is full: the first line is not written before the test sends a result.
    let line = format!("{}\n", "x".repeat(1023));
    for _ in 0..100 {
        queue.push(&line);
    }
    assert_eq!(lost(&queue), 36, "64 of a KiB have room");
    queue.push("short\n");
    assert_eq!(lost(&queue), 37, "no line is written before an earlier one");
    queue.flush(Duration::from_millis(1)); // does not wait for ever
    answers.send(Ok(())).unwrap();
    let rest = written.recv().unwrap();
    assert_eq!((rest.lines().count(), rest.lines().last()), (65, Some("37 lost")));
    queue.push("room again\n");
    answers.send(Ok(())).unwrap();
    assert_eq!(written.recv().unwrap(), "room again\n");
    answers.send(Ok(())).unwrap();
    queue.flush(Duration::from_secs(60));
    assert_eq!(lost(&queue), 37);
}

#[test]
fn lines_that_cannot_be_written_are_lost() {
    let (queue, written, answers) = start();
    queue.push("a\n");
    written.recv().unwrap();
    queue.push("b\n");
    queue.push("c\n");
    answers.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    assert_eq!(written.recv().unwrap(), "b\nc\n1 lost\n");
    answers.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    queue.flush(Duration::from_secs(60));
    assert_eq!(lost(&queue), 3);
    queue.push("d\n");
    assert_eq!(written.recv().unwrap(), "d\n3 lost\n");
    queue.push("e\n");
    queue.push("f\n");
    answers.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
    assert_eq!(written.recv().unwrap(), "d\n3 lost\n", "again");
    answers.send(Ok(())).unwrap();
    assert_eq!(written.recv().unwrap(), "e\nf\n", "both have room though lines were lost");
    answers.send(Ok(())).unwrap();
    queue.flush(Duration::from_secs(60));
    assert_eq!(lost(&queue), 3);
}

/// Takes half of the given bytes, as a pipe may.
struct Out(mpsc::Sender<u8>);
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = bytes.len().div_ceil(2);
        bytes.iter().take(some).try_for_each(|&b| self.0.send(b)).map_err(io::Error::other)?;
        Ok(some)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_of_many_threads_come_out_whole() {
    let queue = Queue::default();
    let (sender, written) = mpsc::channel();
    queue.write_to(Out(sender), || {}, |lost| format!("{lost} lost\n")).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| queue.push("one line\n")));
        }
    });
    queue.flush(Duration::from_secs(60));
    let text = String::from_utf8(written.try_iter().collect()).unwrap();
    let whole = text.lines().filter(|&line| line == "one line").count() as u64;
    assert_eq!(whole + lost(&queue), 2000);
}
