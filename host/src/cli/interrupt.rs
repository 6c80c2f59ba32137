//! INT and TERM: how a command ends before it is done. A command ends at once, unless it asked to end in order. `orghost
//! serve` has its own way.

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

/// INT and TERM, as they come.
pub struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// From now on. On a system that has no signals, none ever comes.
    pub fn new() -> Self {
        let interrupt = signal(SignalKind::interrupt());
        Self(
            interrupt
                .and_then(|int| Ok((int, signal(SignalKind::terminate())?)))
                .ok(),
        )
    }

    /// The next one.
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

/// What an interrupt does to the command that runs. Cheap to clone.
#[derive(Clone)]
pub struct Interrupts(Arc<Shared>);

struct Shared {
    json: bool,
    /// The first one that a command took for itself.
    taken: Mutex<Option<Interrupt>>,
    reaction: Mutex<Reaction>,
}

enum Reaction {
    /// Ends the program, and says what becomes of the work.
    End(Cow<'static, str>),
    /// Asks the work to end in order, and says what that means; the next one ends the program.
    Cancel(CancellationToken, &'static str),
}

impl Interrupts {
    /// Nothing is watched before [`Interrupts::watch`].
    pub fn new(json: bool) -> Self {
        Self(Arc::new(Shared {
            json,
            taken: Mutex::new(None),
            reaction: Mutex::new(Reaction::End("interrupted".into())),
        }))
    }

    /// Watches from now on, in a thread of its own: a command may be busy with anything.
    pub fn watch(&self) {
        let watched = self.clone();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build();
            // Without one, a signal does what it always does.
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

    /// From now on, what an interrupt says when it ends the program.
    pub fn say(&self, words: impl Into<Cow<'static, str>>) {
        self.set(Reaction::End(words.into()));
    }

    /// From now on, the first interrupt cancels, and promises what comes of that.
    pub fn cancel(&self, token: &CancellationToken, promise: &'static str) {
        self.set(Reaction::Cancel(token.clone(), promise));
    }

    /// The interrupt that cancelled.
    pub fn taken(&self) -> Option<Interrupt> {
        let taken = &self.0.taken;
        *taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, reaction: Reaction) {
        let now = &self.0.reaction;
        *now.lock().unwrap_or_else(PoisonError::into_inner) = reaction;
    }

    fn react(&self, interrupt: Interrupt) {
        let reaction = &self.0.reaction;
        let reaction = reaction.lock().unwrap_or_else(PoisonError::into_inner);
        match &*reaction {
            Reaction::Cancel(token, promise) if !token.is_cancelled() => {
                let taken = &self.0.taken;
                *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(interrupt);
                note(promise);
                token.cancel();
            }
            Reaction::Cancel(..) => self.end(
                "stopped half-way: run the same command again to go on".into(),
                interrupt,
            ),
            Reaction::End(words) => self.end(words.clone(), interrupt),
        }
    }

    /// Ends the program. A line of JSON that is being written is finished before, if its reader reads.
    fn end(&self, words: Cow<'static, str>, interrupt: Interrupt) -> ! {
        /// Whoever does not read what is written for so long does not read it.
        const PATIENCE: Duration = Duration::from_secs(1);
        let json = self.0.json;
        let (told, is_told) = mpsc::channel();
        std::thread::spawn(move || {
            if json {
                let diagnostic = Diagnostic::new("interrupted", words);
                report::print_problem(&Problem::one(Class::Failed, diagnostic), true);
            } else {
                note(&words);
            }
            let _ = told.send(());
        });
        let _ = is_told.recv_timeout(PATIENCE);
        std::process::exit(i32::from(interrupt.exit_code()))
    }
}
