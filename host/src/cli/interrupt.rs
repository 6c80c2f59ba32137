//! What INT and TERM do to a running command. The program ends at once, unless the command asked for a cancellation first.
//! `orghost serve` and `orghost plugin dev` handle these signals themselves.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::exit::Interrupt;
use crate::cli::render::report;
use crate::cli::render::text::note;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A stream of INT and TERM.
pub struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Listens from now on. If the system cannot report signals, [`Signals::next`] never returns.
    pub fn new() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self(
            interrupt
                .and_then(|int| Ok((int, signal(SignalKind::terminate())?)))
                .ok(),
        )
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Interrupt {
        let Some((int, term)) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => Interrupt::Int,
            _ = term.recv() => Interrupt::Term,
        }
    }
}

/// What an interrupt does to the running command. Clones share one state.
#[derive(Clone)]
pub struct Interrupts(Arc<Shared>);

struct Shared {
    json: bool,
    /// The interrupt that cancelled the command, if any.
    cancelled_by: Mutex<Option<Interrupt>>,
    reaction: Mutex<Reaction>,
}

enum Reaction {
    /// Ends the program and prints this message, which says what happens to the work.
    End(Cow<'static, str>),
    /// Cancels the work and prints this message; the next interrupt ends the program.
    Cancel(CancellationToken, &'static str),
}

impl Interrupts {
    /// Signals have their default effect until [`Interrupts::watch`] is called.
    pub fn new(json: bool) -> Self {
        Self(Arc::new(Shared {
            json,
            cancelled_by: Mutex::new(None),
            reaction: Mutex::new(Reaction::End("interrupted".into())),
        }))
    }

    /// Watches for signals from now on, in its own thread, because the command may block any other thread.
    pub fn watch(&self) {
        let watched = self.clone();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            // Without a runtime, signals keep their default effect.
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let mut signals = Signals::new();
                let _ = ready.send(());
                loop {
                    watched.react(signals.next().await);
                }
            });
        });
        let _ = is_ready.recv();
    }

    /// From now on, an interrupt prints this message and ends the program.
    pub fn say(&self, message: impl Into<Cow<'static, str>>) {
        self.set(Reaction::End(message.into()));
    }

    /// From now on, the first interrupt prints this message and cancels the token. The second one ends the program.
    pub fn cancel(&self, token: &CancellationToken, message: &'static str) {
        self.set(Reaction::Cancel(token.clone(), message));
    }

    /// The interrupt that cancelled the command, if any.
    pub fn cancelled_by(&self) -> Option<Interrupt> {
        let cancelled_by = &self.0.cancelled_by;
        *cancelled_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, reaction: Reaction) {
        let current = &self.0.reaction;
        *current.lock().unwrap_or_else(PoisonError::into_inner) = reaction;
    }

    fn react(&self, interrupt: Interrupt) {
        let reaction = &self.0.reaction;
        let reaction = reaction.lock().unwrap_or_else(PoisonError::into_inner);
        match &*reaction {
            Reaction::Cancel(token, message) if !token.is_cancelled() => {
                let cancelled_by = &self.0.cancelled_by;
                *cancelled_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupt);
                note(message);
                token.cancel();
            }
            Reaction::Cancel(..) => self.end(
                "stopped before the end: run the same command again to resume".into(),
                interrupt,
            ),
            Reaction::End(message) => self.end(message.clone(), interrupt),
        }
    }

    /// Prints a message and ends the program. The message waits until a line that another thread is writing is complete.
    fn end(&self, message: Cow<'static, str>, interrupt: Interrupt) -> ! {
        /// How long to wait for a reader that reads nothing.
        const PATIENCE: Duration = Duration::from_secs(1);
        let json = self.0.json;
        let (printed, is_printed) = mpsc::channel();
        std::thread::spawn(move || {
            if json {
                let diagnostic = Diagnostic::new("interrupted", message);
                report::print_problem(&Problem::one(Class::Failed, diagnostic), true);
            } else {
                note(&message);
            }
            let _ = printed.send(());
        });
        let _ = is_printed.recv_timeout(PATIENCE);
        std::process::exit(i32::from(interrupt.exit_code()))
    }
}
