//! Taking stock: the map of entries is brought up to date, and the map of interfaces.

use std::{
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use aya::maps::{IterableMap as _, MapError};
use exporter_common::neighbour::{FAMILIES, GONE, Known, STEPS, Totals};

use super::{Counting, HOOKS, Losses, PRUNE, Reason, SETTLE, SWEEP, WALK, load, wrong};
use crate::host::bpf::{Error, sys};

/// How often a resync is repeated where events are lost during it, before it fails.
const TRIES: u32 = 5;

/// How long a walk may take; a table of a million entries takes half a second.
const PATIENCE: Duration = Duration::from_secs(5);

impl Counting {
    /// Sets the counts right where they are in doubt, and reads them.
    pub(super) fn refresh(&mut self, scrape: u64, now: Instant) -> Result<(), Error> {
        if let Some((failed, error)) = &self.failure
            && scrape > 0
            && scrape == *failed
        {
            return Err(Error::Before(Arc::clone(error)));
        }
        self.settle()?;
        let has_pruned = self.read(now)?;
        let (totals, losses) = (self.totals()?, self.losses()?);
        let differs = self.audit.fails(&totals, self.interfaces.entries(), now);
        let is_full = self.interfaces.entries() > self.room.entries.into();
        let reason = if losses.lost != self.good.lost || is_full {
            Some(Reason::Lost)
        } else if losses.crowded != self.good.crowded {
            Some(Reason::Crowded)
        } else if losses.missed != self.good.missed {
            Some(Reason::Missed)
        } else if differs || self.interfaces.is_below_zero() {
            Some(Reason::Audit)
        } else {
            None
        };
        self.doubt = self.doubt.or(reason);
        let Some(reason) = self.doubt else { return Ok(()) };
        if let Some((_, error)) = &self.failure
            && !self.pause.is_over(now)
            && !has_room(error, &totals, has_pruned)
        {
            return Err(Error::Before(Arc::clone(error)));
        }
        if let Err(error) = self.resync(now) {
            self.pause.lengthen(now);
            if !error.is_doubt() {
                return Err(error);
            }
            let error = Arc::new(error);
            self.failure = Some((scrape, Arc::clone(&error)));
            return Err(Error::Before(error));
        }
        if let Some(n) = self.resyncs.get_mut(reason as usize) {
            *n += 1;
        }
        tracing::debug!(reason = reason.name(), "took stock of the neighbours");
        self.pause.end();
        self.doubt = None;
        self.failure = None;
        Ok(())
    }

    /// Brings the map of entries up to date, and with it the counts.
    fn resync(&mut self, now: Instant) -> Result<(), Error> {
        let mut reason = Error::Unsettled;
        for _ in 0..TRIES {
            self.walk = self.walk.wrapping_add(1);
            self.settle()?;
            let before = self.losses()?;
            let size = size(&self.totals()?);
            let full = Error::Full { entries: size, room: self.room.entries };
            // A walk would take time at each scrape and could not succeed.
            if size > self.room.entries.into() {
                return Err(full);
            }
            for i in 0..FAMILIES.len() {
                self.walk(i)?;
            }
            self.sweep()?;
            let after = self.losses()?;
            if after == before {
                self.started = true;
                self.settle()?;
                self.read(now)?;
                if self.interfaces.is_below_zero() {
                    return Err(Error::BelowZero);
                }
                self.good = after;
                self.audit.settle(&self.totals()?, self.interfaces.entries(), now);
                return Ok(());
            }
            self.read(now)?;
            if self.interfaces.entries() >= self.room.entries.into() {
                return Err(full);
            }
            reason = Error::Unsettled;
            if after.crowded != before.crowded {
                reason = Error::Crowded { room: self.interfaces.room() };
                // The sweep may have taken the last entries of interfaces that are gone.
                if self.prune(now)? == 0 {
                    break;
                }
            }
        }
        Err(reason)
    }

    /// Shows every entry of a table to the programs.
    fn walk(&mut self, table: usize) -> Result<(), Error> {
        let start = Instant::now();
        let (mut hash, mut bucket) = (0, 0);
        loop {
            self.settle()?; // finds the table
            let Some(&now) = self.totals()?.tables.get(table) else { return Ok(()) };
            if now.hash != hash {
                // The table has grown: the walk may have passed over entries that moved.
                (hash, bucket) = (now.hash, 0);
            }
            if now.address == 0 || bucket >= now.buckets {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Unsettled);
            }
            self.set.run(WALK, &[hash, bucket])?;
            bucket = self.totals()?.walked;
        }
    }

    /// Takes those entries out of the map that the walk has not found.
    fn sweep(&mut self) -> Result<(), Error> {
        let (mut addresses, mut entries) = (Vec::new(), Vec::<Known>::new());
        sys::read(self.entries.map().fd().as_fd(), &mut addresses, &mut entries)
            .map_err(|source| Error::Map { map: "ENTRIES", source })?;
        let mut unseen = Vec::new();
        for (address, known) in addresses.iter().zip(&entries) {
            if known.state & GONE != 0 {
                // A program took the entry out of the counts, and failed to take it out of the map.
                match self.entries.remove(address) {
                    Ok(()) | Err(MapError::KeyNotFound) => {}
                    Err(error) => return Err(wrong("ENTRIES", error)),
                }
            } else if known.walk != self.walk {
                unseen.push(*address);
            }
        }
        let mut unseen = unseen.chunks(STEPS as usize);
        let mut slots = (0..load::slots(self.room.entries)).step_by(STEPS as usize);
        loop {
            let (chunk, slot) = (unseen.next(), slots.next());
            if let Some(chunk) = chunk {
                let mut batch = chunk.to_vec();
                batch.resize(STEPS as usize, 0);
                // The batch stays there after this run; a later run may look at its addresses
                // again, which does no harm.
                sys::write(self.batch.map().fd().as_fd(), &batch)
                    .map_err(|source| Error::Map { map: "BATCH", source })?;
            } else if slot.is_none() {
                return Ok(());
            }
            self.set.run(SWEEP, &[slot.unwrap_or_default().into(), 0])?;
        }
    }

    /// Finds the tables, and looks for entries that no tracepoint has told of.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.set.run(SETTLE, &[self.started.into(), self.walk.into()])
    }

    /// The losses up to now.
    fn losses(&mut self) -> Result<Losses, Error> {
        let totals = self.totals()?;
        Ok(Losses { lost: totals.lost, crowded: totals.crowded, missed: self.missed()? })
    }

    /// How often one of the programs did not run.
    fn missed(&mut self) -> Result<u64, Error> {
        let mut missed = 0;
        for (i, hook) in HOOKS.iter().enumerate().filter(|(_, hook)| hook.is_attached()) {
            let runs = self.set.runs(hook.name())?;
            missed += runs.missed;
            if let Some(known) = self.runs.get_mut(i) {
                *known = runs;
            }
        }
        Ok(missed)
    }

    /// Reads the map of interfaces; takes the elements of interfaces that are gone where that is
    /// due, and says whether it took any.
    fn read(&mut self, now: Instant) -> Result<bool, Error> {
        /// How often a map may be read just between two steps of a program, where a count can be
        /// below zero.
        const LOOKS: u32 = 3;
        self.interfaces.read();
        let is_crowded = matches!(self.doubt, Some(Reason::Crowded));
        let is_due = is_crowded || self.look.is_due(self.interfaces.idle(), now);
        let has_pruned = is_due && self.prune(now)? > 0;
        for _ in 0..LOOKS {
            if !self.interfaces.is_below_zero() {
                break;
            }
            self.interfaces.read();
        }
        Ok(has_pruned)
    }

    /// Takes the elements of interfaces that are gone, and reads the others; returns the number of
    /// elements taken.
    fn prune(&mut self, now: Instant) -> Result<usize, Error> {
        let before = self.interfaces.used();
        self.set.run(PRUNE, &[0; 2])?;
        self.interfaces.read();
        self.look.done(self.interfaces.idle(), now);
        Ok(before.saturating_sub(self.interfaces.used()))
    }
}

/// Entries of the tables, by their own count.
pub(super) fn size(totals: &Totals) -> u64 {
    totals.tables.iter().map(|table| table.size).sum()
}

/// Whether the reason of a failure has gone, as far as can be told without a walk.
fn has_room(error: &Error, totals: &Totals, has_pruned: bool) -> bool {
    match error {
        Error::Full { entries, room } => size(totals) < *entries && size(totals) <= (*room).into(),
        Error::Crowded { .. } => has_pruned,
        _ => false,
    }
}
