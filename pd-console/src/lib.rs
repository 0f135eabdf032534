//! Serial port, operator commands, guest consoles.
//!
//! Everything that is printed goes through here, so that every line can say where it comes from:
//!
//! ```text
//! pd-tdx  | software TDX module 1.5 configured
//! guest 0 | Linux version 6.12…
//! ```
//!
//! What is typed goes to the guest; Ctrl-] starts an operator command.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt::{self, Write};
use heapless::Vec;
use ipc_console::{FromConsole, MAX_BYTES, ToConsole};
use ring::Link;

/// The channel to one PD, seen from the console.
pub type PdLink<'a> = Link<'a, FromConsole, ToConsole>;

/// The PDs that the console serves, in the order of its links.
pub const PDS: [&str; 3] = ["pd-vmm", "pd-mmu", "pd-tdx"];
const VMM: usize = 0;

/// Ctrl-], as in telnet: the next key is an operator command.
const ESCAPE: u8 = 0x1d;

/// The machine's serial port, and its end.
pub trait Port {
    /// Sends one byte.
    fn put(&mut self, byte: u8);
    /// The next byte that was typed, if any.
    fn get(&mut self) -> Option<u8>;
    /// Ends the machine with this status of the run.
    fn end(&mut self, status: u8);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Console,
    Pd(usize),
    Guest(u16),
}

/// The console.
pub struct Console<'a> {
    links: [PdLink<'a>; PDS.len()],
    ready: [bool; PDS.len()],
    /// Whose line is begun and not ended, and what of it has been shown.
    open: Option<Source>,
    command: bool,
    ended: bool,
}

impl<'a> Console<'a> {
    /// A console over its links, in the order of [`PDS`].
    pub fn new(links: [PdLink<'a>; PDS.len()]) -> Self {
        Self {
            links,
            ready: [false; PDS.len()],
            open: None,
            command: false,
            ended: false,
        }
    }

    /// The links, for their doorbells.
    pub fn links(&mut self) -> &mut [PdLink<'a>; PDS.len()] {
        &mut self.links
    }

    /// Shows everything that was sent and passes on everything that was typed.
    pub fn poll(&mut self, port: &mut impl Port) {
        for (pd, name) in PDS.iter().enumerate() {
            while let Some(frame) = self.links[pd].receive() {
                match frame {
                    Ok(message) => self.message(port, pd, message),
                    Err(error) => {
                        let count = self.links[pd].bad_frames;
                        self.line(
                            port,
                            Source::Console,
                            format_args!("frame from {} dropped: {error:?} ({count} so far)", name),
                        );
                    }
                }
            }
        }
        let mut typed = Vec::<u8, MAX_BYTES>::new();
        while let Some(byte) = port.get() {
            if core::mem::take(&mut self.command) {
                self.operator(port, byte, &mut typed);
            } else if byte == ESCAPE {
                self.command = true;
            } else {
                let _ = typed.push(byte);
            }
            if typed.is_full() {
                self.send_typed(&mut typed);
            }
        }
        self.send_typed(&mut typed);
    }

    fn send_typed(&mut self, typed: &mut Vec<u8, MAX_BYTES>) {
        if !typed.is_empty() {
            let bytes = core::mem::take(typed);
            // A guest that does not read loses what is typed, as a serial line does; it is counted.
            let _ = self.links[VMM].send(&FromConsole::Input { vm: 0, bytes });
        }
    }

    fn operator(&mut self, port: &mut impl Port, key: u8, typed: &mut Vec<u8, MAX_BYTES>) {
        match key {
            ESCAPE => {
                let _ = typed.push(ESCAPE);
            }
            b'r' => {
                for link in &mut self.links {
                    let _ = link.send(&FromConsole::Report);
                }
                for (pd, name) in PDS.iter().enumerate() {
                    let Link { bad_frames, unsent, .. } = self.links[pd];
                    self.line(port, Source::Console, format_args!(
                        "{}: {bad_frames} bad frames, {unsent} messages not taken", name
                    ));
                }
            }
            b'q' => self.end(port, 1),
            _ => self.line(port, Source::Console, format_args!(
                "Ctrl-] r: counters of every PD   Ctrl-] q: end the machine   Ctrl-] Ctrl-]: the key itself"
            )),
        }
    }

    fn message(&mut self, port: &mut impl Port, pd: usize, message: ToConsole) {
        match message {
            ToConsole::Ready => {
                self.ready[pd] = true;
                self.line(port, Source::Pd(pd), format_args!("ready"));
                if self.ready.iter().all(|&r| r) {
                    self.line(
                        port,
                        Source::Console,
                        format_args!("ready: 4 protection domains run"),
                    );
                }
            }
            ToConsole::Line(line) => self.line(port, Source::Pd(pd), format_args!("{line}")),
            ToConsole::Guest { vm, bytes } if pd == VMM => {
                for byte in bytes {
                    self.put(port, Source::Guest(vm), byte);
                }
            }
            ToConsole::End { status } if pd == VMM => self.end(port, status),
            ToConsole::Guest { .. } | ToConsole::End { .. } => self.line(
                port,
                Source::Console,
                format_args!("{} sent what only pd-vmm may send: ignored", PDS[pd]),
            ),
        }
    }

    fn end(&mut self, port: &mut impl Port, status: u8) {
        if !core::mem::replace(&mut self.ended, true) {
            self.close(port);
            port.end(status);
        }
    }

    fn line(&mut self, port: &mut impl Port, source: Source, text: fmt::Arguments<'_>) {
        self.close(port);
        struct Out<'c, 'a, P>(&'c mut Console<'a>, &'c mut P, Source);
        impl<P: Port> Write for Out<'_, '_, P> {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                s.bytes().for_each(|byte| self.0.put(self.1, self.2, byte));
                Ok(())
            }
        }
        let _ = Out(self, port, source).write_fmt(text);
        self.close(port);
    }

    /// Ends the open line, if there is one.
    fn close(&mut self, port: &mut impl Port) {
        if self.open.take().is_some() {
            port.put(b'\r');
            port.put(b'\n');
        }
    }

    fn put(&mut self, port: &mut impl Port, source: Source, byte: u8) {
        if self.open != Some(source) {
            self.close(port);
            if byte == b'\r' || byte == b'\n' {
                return if byte == b'\n' {
                    self.label(port, source);
                    self.close(port)
                };
            }
            self.label(port, source);
        }
        match byte {
            b'\n' => self.close(port),
            // The guest's own bytes reach the terminal as they are, except what would move the
            // cursor over the label.
            b'\r' => {}
            _ => port.put(byte),
        }
    }

    fn label(&mut self, port: &mut impl Port, source: Source) {
        struct Raw<'p, P>(&'p mut P);
        impl<P: Port> Write for Raw<'_, P> {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                s.bytes().for_each(|byte| self.0.put(byte));
                Ok(())
            }
        }
        let mut out = Raw(port);
        let _ = match source {
            Source::Console => write!(out, "console | "),
            Source::Pd(pd) => write!(out, "{:<7} | ", PDS[pd]),
            Source::Guest(vm) => write!(out, "guest {vm} | "),
        };
        self.open = Some(source);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::sync::atomic::AtomicU32;
    use heapless::String;
    use ring::REGION_WORDS;
    use std::string::String as Text;
    use std::vec::Vec as List;

    #[derive(Default)]
    struct Screen {
        shown: List<u8>,
        typed: List<u8>,
        status: Option<u8>,
    }

    impl Port for Screen {
        fn put(&mut self, byte: u8) {
            self.shown.push(byte);
        }
        fn get(&mut self) -> Option<u8> {
            (!self.typed.is_empty()).then(|| self.typed.remove(0))
        }
        fn end(&mut self, status: u8) {
            self.status = Some(status);
        }
    }

    /// Runs the console after `act` has used the PDs' ends; gives the screen and the ends back.
    fn run(
        typed: &[u8],
        act: impl Fn(&mut [Link<'_, ToConsole, FromConsole>; 3]),
    ) -> (Text, Option<u8>, List<List<FromConsole>>) {
        let words: List<List<AtomicU32>> = (0..6)
            .map(|_| (0..REGION_WORDS).map(|_| AtomicU32::new(0)).collect())
            .collect();
        let mut console = Console::new([0, 1, 2].map(|i| Link::new(&words[i], &words[i + 3])));
        let mut ends = [0, 1, 2].map(|i| Link::new(&words[i + 3], &words[i]));
        let mut screen = Screen {
            typed: typed.to_vec(),
            ..Screen::default()
        };
        act(&mut ends);
        console.poll(&mut screen);
        let received = ends
            .iter_mut()
            .map(|end| {
                core::iter::from_fn(|| end.receive())
                    .map(|m| m.unwrap())
                    .collect()
            })
            .collect();
        (
            Text::from_utf8(screen.shown).unwrap(),
            screen.status,
            received,
        )
    }

    fn guest(bytes: &[u8]) -> ToConsole {
        ToConsole::Guest {
            vm: 0,
            bytes: Vec::from_slice(bytes).unwrap(),
        }
    }

    #[test]
    fn every_line_says_where_it_comes_from() {
        let (shown, status, _) = run(b"", |ends| {
            ends[0].send(&guest(b"hel")).unwrap();
            ends[0].send(&guest(b"lo\r\nwor")).unwrap();
            ends[1]
                .send(&ToConsole::Line(String::try_from("two roots").unwrap()))
                .unwrap();
            ends[0].send(&guest(b"ld\n\n")).unwrap();
        });
        assert_eq!(
            shown,
            "guest 0 | hello\r\nguest 0 | world\r\nguest 0 | \r\npd-mmu  | two roots\r\n"
        );
        assert_eq!(status, None);
    }

    #[test]
    fn four_ready_pds_are_announced_once() {
        let (shown, ..) = run(b"", |ends| {
            ends.iter_mut()
                .for_each(|e| e.send(&ToConsole::Ready).unwrap())
        });
        assert_eq!(shown.matches("ready: 4 protection domains run").count(), 1);
        assert_eq!(shown.lines().count(), 4);
    }

    #[test]
    fn only_the_vmm_ends_the_run() {
        let (shown, status, _) = run(b"", |ends| {
            ends[1].send(&ToConsole::End { status: 0 }).unwrap()
        });
        assert_eq!(status, None);
        assert!(shown.contains("ignored"), "{shown}");
        let (_, status, _) = run(b"", |ends| {
            ends[0].send(&ToConsole::End { status: 3 }).unwrap()
        });
        assert_eq!(status, Some(3));
    }

    #[test]
    fn keys_go_to_the_guest_and_commands_to_the_operator() {
        let (shown, status, received) = run(b"ls\r\x1d\x1d\x1dr\x1d?", |_| ());
        let typed = FromConsole::Input {
            vm: 0,
            bytes: Vec::from_slice(b"ls\r\x1d").unwrap(),
        };
        assert_eq!(received[0], [FromConsole::Report, typed]);
        assert_eq!(received[2], [FromConsole::Report]);
        assert!(shown.contains("end the machine"));
        assert_eq!(status, None);
        assert_eq!(run(b"\x1dq", |_| ()).1, Some(1));
    }

    #[test]
    fn long_input_is_passed_on_whole() {
        let (_, _, received) = run(&[b'x'; 600], |_| ());
        let total: usize = received[0]
            .iter()
            .map(|m| {
                if let FromConsole::Input { bytes, .. } = m {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum();
        assert_eq!(total, 600);
    }
}
