//! A species of which two builds keep their state in different forms.

use actix::{Actor, Context, Handler, Message, MessageResult};
use flock_actix::{Bird, Hatching, Migrate, SnapshotError};
use serde::{Deserialize, Serialize};

/// Write this down.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub struct Write(pub String);

/// Read out all of it.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "String")]
pub struct Read;

/// Keeps what is written, and how many lines that are.
#[derive(Debug)]
pub struct Diary(String);

/// As the first build keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pages {
    text: String,
    lines: u32,
}

impl Actor for Diary {
    type Context = Context<Self>;
}

impl Bird for Diary {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(String::new()))
    }
}

impl Migrate for Diary {
    type Snapshot = Pages;

    fn snapshot(&mut self) -> Pages {
        Pages { text: self.0.clone(), lines: 1 }
    }

    fn restore((): (), pages: Result<Pages, SnapshotError>, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(pages?.text))
    }
}

flock_actix::bird!(Diary as "diary", migrates { Write, Read });

impl Handler<Write> for Diary {
    type Result = ();

    fn handle(&mut self, Write(what): Write, _: &mut Context<Self>) {
        self.0.push_str(&what);
    }
}

impl Handler<Read> for Diary {
    type Result = MessageResult<Read>;

    fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

/// The second build.
pub mod later {
    use super::{
        Actor, Bird, Context, Deserialize, Handler, Hatching, MessageResult, Migrate, Read,
        Serialize, SnapshotError, Write,
    };

    /// Keeps it by the line.
    #[derive(Debug, Default)]
    pub struct Diary(Vec<String>);

    /// As this build keeps it.
    #[derive(Debug, Serialize, Deserialize)]
    pub struct Pages {
        lines: Vec<String>,
    }

    impl Actor for Diary {
        type Context = Context<Self>;
    }

    impl Bird for Diary {
        type Args = ();

        async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
            Ok(Self::default())
        }
    }

    impl Migrate for Diary {
        type Snapshot = Pages;

        fn snapshot(&mut self) -> Pages {
            Pages { lines: self.0.clone() }
        }

        /// Diaries whose name says so are worth some trouble; others begin anew.
        fn restore(
            (): (),
            pages: Result<Pages, SnapshotError>,
            bird: &Hatching,
        ) -> anyhow::Result<Self> {
            match pages {
                Err(error) if bird.name().as_str().starts_with("dear") => {
                    let old: super::Pages = rmp_serde::from_slice(error.bytes())?;
                    Ok(Self(vec![old.text, error.to_string()]))
                }
                pages => Ok(Self(pages?.lines)),
            }
        }
    }

    flock_actix::bird!(Diary as "diary", migrates { Write, Read });

    impl Handler<Write> for Diary {
        type Result = ();

        fn handle(&mut self, Write(what): Write, _: &mut Context<Self>) {
            self.0.push(what);
        }
    }

    impl Handler<Read> for Diary {
        type Result = MessageResult<Read>;

        fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Self::Result {
            MessageResult(self.0.join("|"))
        }
    }
}
