//! The manual pages: one for each command, made of its help, and one for each page of Markdown that is meant to be one.

use std::fs;
use std::io;
use std::path::Path;

use clap_mangen::Man;
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What stands below each page in the middle.
const SOURCE: &str = concat!("cosmount ", env!("CARGO_PKG_VERSION"));

/// What the pages are a part of.
const MANUAL: &str = "cosmount manual";

/// A page that is written in Markdown.
struct Written {
    title: &'static str,
    section: &'static str,
    /// The line that apropos(1) shows.
    what: &'static str,
    text: &'static str,
    /// What stands in the place of the first paragraph, where that one is for those who have the source.
    lead: Option<&'static str>,
    /// Other pages of the same section.
    see: &'static str,
}

const WRITTEN: [Written; 3] = [
    Written {
        title: "cosmount",
        section: "7",
        what: "how a mounted bucket answers each system call",
        text: include_str!("../../docs/SEMANTICS.md"),
        lead: Some(
            "What programs may rely on, call by call. Errors are in the last section. docs/SEMANTICS.md in the source has the same, \
             and names the test that shows each of it.",
        ),
        see: "cosmount(1), cosmount-mount(1)",
    },
    Written {
        title: "mount.cosmount",
        section: "8",
        what: "mount a bucket by mount(8) and fstab(5)",
        text: include_str!("../../docs/man/mount.cosmount.md"),
        lead: None,
        see: "cosmount-mount(1), cosmount(7), mount(8), fstab(5), systemd.mount(5)",
    },
    Written {
        title: "cosmount@.service",
        section: "8",
        what: "mount a bucket by systemd",
        text: include_str!("../../docs/man/cosmount@.service.md"),
        lead: None,
        see: "cosmount-mount(1), mount.cosmount(8), systemctl(1), systemd.exec(5)",
    },
];

/// Pages that are another one under the name that somebody looks for.
const LINKS: [(&str, &str); 2] =
    [("mount.fuse.cosmount.8", "man8/mount.cosmount.8"), ("cosmount-umount.1", "man1/cosmount-unmount.1")];

/// Writes all of them, as `man1/cosmount.1` and so on.
pub(crate) fn write_to(directory: &Path) -> io::Result<()> {
    for section in ["man1", "man7", "man8"] {
        fs::create_dir_all(directory.join(section))?;
    }
    let mut command = cosmount::cli::command().disable_help_subcommand(true);
    command.build();
    write_commands(&command, &directory.join("man1"))?;
    for page in &WRITTEN {
        let file = format!("man{}/{}.{}", page.section, page.title, page.section);
        fs::write(directory.join(file), page.render())?;
    }
    for (name, target) in LINKS {
        let section = name.rsplit('.').next().unwrap_or_default();
        fs::write(directory.join(format!("man{section}")).join(name), format!(".so {target}\n"))?;
    }
    Ok(())
}

fn write_commands(command: &clap::Command, directory: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_commands(below, directory)?;
    }
    let page = Man::new(command.clone()).source(SOURCE).manual(MANUAL);
    page.generate_to(directory).map(|_| ())
}

impl Written {
    fn render(&self) -> String {
        let (title, section, what) = (escaped(self.title), self.section, escaped(self.what));
        let mut page = format!(
            ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH \"{title}\" \"{section}\" \"\" \"{SOURCE}\" \"{MANUAL}\"\n"
        );
        page.push_str(&format!(".SH NAME\n{title} \\- {what}\n"));
        let mut text = Text { page, lead: self.lead, ..Text::default() };
        for event in Parser::new_ext(self.text, Options::ENABLE_TABLES) {
            text.take(event);
        }
        text.end_paragraph();
        text.page.push_str(&format!(".SH SEE ALSO\n{}\n", escaped(self.see)));
        text.page
    }
}

/// A page of Markdown on its way to roff(7).
#[derive(Default)]
struct Text {
    page: String,
    /// The paragraph, heading or cell that is being read, escaped.
    line: String,
    /// How many lists are open around it, and whether an item has just begun.
    lists: usize,
    begins_item: bool,
    is_code: bool,
    is_heading: bool,
    cells: Vec<String>,
    /// What is told in the place of the next paragraph.
    lead: Option<&'static str>,
}

impl Text {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::Heading { .. }) => self.is_heading = true,
            Event::End(TagEnd::Heading(level)) => {
                self.is_heading = false;
                let heading = std::mem::take(&mut self.line);
                match level {
                    // The title of the document: what follows is its description.
                    HeadingLevel::H1 => self.page.push_str(".SH DESCRIPTION\n"),
                    HeadingLevel::H2 => self.macro_line("SH", &heading.to_uppercase()),
                    _ => self.macro_line("SS", &heading),
                }
            }
            Event::End(TagEnd::Paragraph) => self.end_paragraph(),
            Event::Start(Tag::List(_)) => {
                self.end_paragraph();
                self.lists += 1;
                if self.lists > 1 {
                    self.page.push_str(".RS\n");
                }
            }
            Event::End(TagEnd::List(_)) => {
                self.lists -= 1;
                if self.lists > 0 {
                    self.page.push_str(".RE\n");
                }
            }
            Event::Start(Tag::Item) => self.begins_item = true,
            Event::End(TagEnd::Item) => self.end_paragraph(),
            Event::Start(Tag::CodeBlock(kind)) => {
                self.end_paragraph();
                self.is_code = true;
                debug_assert!(matches!(kind, CodeBlockKind::Fenced(_) | CodeBlockKind::Indented));
                self.page.push_str(".PP\n.RS 4\n.nf\n");
            }
            Event::End(TagEnd::CodeBlock) => {
                self.is_code = false;
                self.page.push_str(".fi\n.RE\n");
            }
            Event::Start(Tag::TableCell) => self.line.clear(),
            Event::End(TagEnd::TableCell) => {
                let cell = std::mem::take(&mut self.line);
                self.cells.push(cell.trim().to_owned());
            }
            // What a column is called tells less than its cells, which are sentences here.
            Event::End(TagEnd::TableHead) => self.cells.clear(),
            Event::End(TagEnd::TableRow) => self.end_row(),
            Event::Text(text) if self.is_code => {
                for line in text.lines() {
                    self.page.push_str(&guarded(&escaped(line)));
                    self.page.push('\n');
                }
            }
            Event::Text(text) => self.line.push_str(&escaped(&text)),
            // Tests are named for those who have the source.
            Event::Code(code) if code.contains("::") => self.line.push(TEST),
            Event::Code(code) if self.is_heading => self.line.push_str(&escaped(&code)),
            Event::Code(code) => self.line.push_str(&format!("\\fB{}\\fR", escaped(&code))),
            Event::Start(Tag::Strong) => self.line.push_str("\\fB"),
            Event::Start(Tag::Emphasis) => self.line.push_str("\\fI"),
            Event::End(TagEnd::Strong | TagEnd::Emphasis) => self.line.push_str("\\fR"),
            Event::SoftBreak | Event::HardBreak => self.line.push('\n'),
            _ => {}
        }
    }

    fn macro_line(&mut self, name: &str, text: &str) {
        self.page.push_str(&format!(".{name} \"{}\"\n", text.replace('"', "\\(dq")));
    }

    fn end_paragraph(&mut self) {
        let mut text = without_tests(&std::mem::take(&mut self.line));
        if let Some(lead) = self.lead.take_if(|_| !text.is_empty()) {
            text = escaped(lead);
        }
        let begins_item = std::mem::take(&mut self.begins_item);
        if text.is_empty() {
            return;
        }
        self.page.push_str(match (self.lists, begins_item) {
            (0, _) => ".PP\n",
            (_, true) => ".IP \\(bu 3\n",
            (_, false) => ".IP \"\" 3\n",
        });
        self.page.push_str(&text);
        self.page.push('\n');
    }

    fn end_row(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        let Some((first, rest)) = cells.split_first() else { return };
        self.page.push_str(&format!(".TP\n{}\n{}\n", guarded(first), guarded(&rest.join("; "))));
    }
}

/// Stands for the name of a test, which a page leaves out.
const TEST: char = '\0';

/// The lines of a paragraph without names of tests, and without the commas that were between them.
fn without_tests(text: &str) -> String {
    let lines = text.lines().map(|line| match line.contains(TEST) {
        true => line.replace(TEST, "").trim_end_matches([',', ' ']).trim_start_matches([',', ' ']).to_owned(),
        false => line.trim().to_owned(),
    });
    lines.filter(|line| !line.is_empty()).map(|line| guarded(&line)).collect::<Vec<_>>().join("\n")
}

/// A line that is none of roff's own, whatever it begins with.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Text as roff shows it letter by letter.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
}
