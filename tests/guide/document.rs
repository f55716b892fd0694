//! A page of the guide as the tests see it: headings, fenced blocks with their lines, links and rows of tables.
//!
//! Of Markdown it knows what the guide uses. Lines count from 1, as editors count them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page, read.
pub(crate) struct Page {
    /// Its path in the repository, as messages name it.
    pub(crate) name: String,
    /// All of its lines.
    lines: Vec<String>,
    /// For each line whether it lies in a fenced block, its fences included.
    fenced: Vec<bool>,
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What stands behind the opening fence, as `sh elsewhere`.
    pub(crate) info: String,
    /// The line of its first line of text.
    pub(crate) line: usize,
    /// What is in it.
    pub(crate) text: String,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) target: String,
}

/// A row of a table, without the row of dashes and what stands above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) cells: Vec<String>,
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the guide, its index first, by name.
pub(crate) fn pages() -> Vec<Page> {
    let entries = fs::read_dir(root().join("docs/guide")).expect("the guide is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let names = paths.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
    names.map(|name| Page::read(&name)).collect()
}

impl Page {
    /// Reads a page by its path in the repository.
    pub(crate) fn read(name: &str) -> Page {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Page::of(name, &text)
    }

    pub(crate) fn of(name: &str, text: &str) -> Page {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut inside = false;
        let fenced = lines.iter().map(|line| {
            let is_fence = line.starts_with("```");
            inside ^= is_fence;
            inside || is_fence
        });
        let fenced = fenced.collect();
        assert!(!inside, "{name}: a fenced block has no end");
        Page { name: name.to_owned(), lines, fenced }
    }

    /// The directory that its links start from.
    pub(crate) fn directory(&self) -> &Path {
        Path::new(&self.name).parent().expect("a path of a file")
    }

    /// Its file's name.
    pub(crate) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Its fenced blocks.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut rest = self.lines.iter().enumerate();
        while let Some((at, line)) = rest.next() {
            let Some(info) = line.strip_prefix("```") else { continue };
            let body: Vec<&str> =
                rest.by_ref().map(|(_, line)| line.as_str()).take_while(|line| !line.starts_with("```")).collect();
            blocks.push(Block { info: info.trim().to_owned(), line: at + 2, text: body.join("\n") });
        }
        blocks
    }

    /// The blocks whose first word is this one.
    pub(crate) fn blocks_of(&self, language: &str) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.language() == language);
        blocks
    }

    /// Its lines outside of blocks, with their numbers.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().zip(&self.fenced).enumerate();
        lines.filter(|(_, (_, fenced))| !**fenced).map(|(at, (line, _))| (at + 1, line.as_str()))
    }

    /// All of it, for who looks for a word.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Its headings, below the title as well.
    pub(crate) fn headings(&self) -> Vec<(usize, String)> {
        let headings = self.prose().filter_map(|(line, text)| {
            let title = text.trim_start_matches('#');
            (title.len() < text.len()).then(|| title.strip_prefix(' ')).flatten().map(|title| (line, title.to_owned()))
        });
        headings.collect()
    }

    /// What a link can lead to in it.
    pub(crate) fn anchors(&self) -> Vec<String> {
        self.headings().iter().map(|(_, title)| anchor(title)).collect()
    }

    /// The links in its prose.
    pub(crate) fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (line, text) in self.prose() {
            let text = without_code(text);
            let mut rest = text.as_str();
            while let Some((before, after)) = rest.split_once("](") {
                let Some((target, behind)) = after.split_once(')') else { break };
                let text = before.rsplit_once('[').map_or("", |(_, text)| text);
                links.push(Link { line, text: text.to_owned(), target: target.to_owned() });
                rest = behind;
            }
        }
        links
    }

    /// The rows of the tables below a heading, to the next one.
    pub(crate) fn rows_of(&self, section: &str) -> Vec<Row> {
        let headings = self.headings();
        let at = headings.iter().position(|(_, title)| title == section);
        let at = at.unwrap_or_else(|| panic!("{} has no section {section:?}", self.name));
        let lines = headings[at].0..headings.get(at + 1).map_or(usize::MAX, |(line, _)| *line);
        self.rows().into_iter().filter(|row| lines.contains(&row.line)).collect()
    }

    /// The rows of its tables.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let lines: Vec<(usize, &str)> = self.prose().collect();
        let is_row = |text: &str| text.starts_with("| ");
        let is_head = |at: usize| lines.get(at + 1).is_some_and(|(_, text)| text.starts_with("|--"));
        let rows = lines.iter().enumerate().filter(|(at, (_, text))| is_row(text) && !is_head(*at));
        rows.map(|(_, (line, text))| Row { line: *line, cells: cells(text) }).collect()
    }
}

impl Block {
    /// The first word of its fence.
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or("")
    }

    /// The other words of its fence.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &str> {
        self.info.split(' ').skip(1)
    }

    pub(crate) fn is_marked(&self, mark: &str) -> bool {
        self.marks().any(|known| known == mark)
    }

    /// Its first line, by which it is named where it cannot be run.
    pub(crate) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or("")
    }
}

/// The name that a heading has in links, as GitHub makes it.
pub(crate) fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// A line whose code has no brackets any more, so that those that are left are links.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { part.replace(['[', ']', '('], "_") }).collect()
}

/// The cells of a row; `\|` is no border of one.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace("\\|", "\u{1}");
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

#[test]
fn a_page_is_headings_blocks_links_and_rows() {
    let text = "# Title\n\nA [link](a.md#b) and `[no](link)`.\n\n## What `this` is, then?\n\n```sh elsewhere\necho [x](y)\n# no \
                heading\n```\n\n| a | b |\n|---|---|\n| `x \\| y` | 1 PUT |\n";
    let page = Page::of("docs/guide/a.md", text);
    assert_eq!(page.anchors(), ["title", "what-this-is-then"]);
    let link = Link { line: 3, text: "link".into(), target: "a.md#b".into() };
    assert_eq!(page.links(), [link]);
    let blocks = page.blocks();
    assert_eq!((blocks[0].line, blocks[0].text.as_str()), (8, "echo [x](y)\n# no heading"));
    assert!(blocks[0].is_marked("elsewhere") && blocks[0].language() == "sh");
    assert_eq!(page.rows(), [Row { line: 14, cells: vec!["`x | y`".into(), "1 PUT".into()] }]);
}
