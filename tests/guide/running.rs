//! Runs the `sh` blocks of a page in order, in one shell, as somebody would who goes through it from top to bottom.
//!
//! Each block is a file of its own that has the block at the lines at which the page has it, so that the shell itself says
//! where something failed. What a block marked `elsewhere` needs is not there; one marked `fails` must fail. A `text` block
//! marked `output` is what the block before it prints, with `...` for what is different each time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::document::{Block, Page};
use crate::stage::{Stage, is_possible};

/// What may stand behind `sh` at a fence: where it is not run, and where it must fail.
pub(crate) const ELSEWHERE: &str = "elsewhere";
const FAILS: &str = "fails";

/// Runs a page. Fails with its name, the line, and what was printed there.
pub(crate) fn run_page(name: &str) {
    if !is_possible() {
        return;
    }
    let page = Page::read(&format!("docs/guide/{name}"));
    let blocks: Vec<Block> = page.blocks_of("sh").into_iter().filter(|block| !block.is_marked(ELSEWHERE)).collect();
    let stage = Stage::new();
    let files: Vec<Files> = blocks.iter().map(|block| Files::write(&page, block, stage.path())).collect();
    let failed = stage.path().join("failed");
    let mut script =
        format!("set -eE\ntrap 'echo \"${{BASH_SOURCE[0]}}:$LINENO: $BASH_COMMAND\" >> {}' ERR\n", failed.display());
    for (block, files) in blocks.iter().zip(&files) {
        script.push_str(&files.command(block));
    }
    let done = stage.run(&script);
    let stopped = files.iter().zip(&blocks).take_while(|(files, _)| files.output.exists()).last();
    if !done.status.success() {
        let lines = fs::read_to_string(&failed).unwrap_or_default();
        let (at, printed) = stopped.map_or((1, String::new()), |(files, block)| (block.line, files.printed()));
        let place =
            lines.lines().last().and_then(|line| line.rsplit_once(&format!("/{name}:"))).map(|(_, place)| place);
        let place = place.map_or_else(|| format!("{at}: the block"), str::to_owned);
        panic!(
            "{}:{place} failed ({}); the block printed\n{printed}\n{}\nthe mounts' log ends with\n{}\n",
            page.name,
            done.status,
            String::from_utf8_lossy(&done.stderr),
            stage.log()
        );
    }
    let wrong = wrong_outputs(&page, &blocks, &files);
    assert!(wrong.is_empty(), "{wrong}");
}

/// What of the outputs that the page shows is not what was printed.
fn wrong_outputs(page: &Page, ran: &[Block], files: &[Files]) -> String {
    let mut wrong = String::new();
    let outputs = page.blocks_of("text").into_iter().filter(|block| block.is_marked("output"));
    for shown in outputs {
        let before = ran.iter().zip(files).rfind(|(block, _)| block.line < shown.line);
        let Some((_, files)) = before else { panic!("{}:{}: the output of nothing", page.name, shown.line) };
        let printed = files.printed();
        if !is_like(printed.trim_end(), &shown.text) {
            let _ = writeln!(wrong, "{}:{} shows\n{}\nand was\n{printed}", page.name, shown.line, shown.text);
        }
    }
    wrong
}

/// The files of one block.
struct Files {
    source: PathBuf,
    output: PathBuf,
}

impl Files {
    fn write(page: &Page, block: &Block, directory: &Path) -> Files {
        let directory = directory.join(format!("block-{}", block.line));
        fs::create_dir(&directory).unwrap();
        let files = Files { source: directory.join(page.file_name()), output: directory.join("output") };
        fs::write(&files.source, "\n".repeat(block.line - 1) + &block.text + "\n").unwrap();
        files
    }

    /// What runs the block. One that must fail has a shell of its own, which ends with it.
    fn command(&self, block: &Block) -> String {
        let (source, output) = (self.source.display(), self.output.display());
        match block.is_marked(FAILS) {
            false => format!("source {source} > {output} 2>&1\n"),
            true => format!(
                "set +e; (trap - ERR; set -e; source {source}) > {output} 2>&1; code=$?; set -e\n\
                 [ $code != 0 ] || {{ echo '{source}:{}: did not fail' >> {output}; exit 1; }}\n",
                block.line
            ),
        }
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }
}

/// Whether a text is like a pattern, in which `...` stands for anything, ends of lines included. How many blanks there are
/// counts nowhere.
fn is_like(text: &str, pattern: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (text, pattern) = (plain(text), plain(pattern));
    let mut pieces = pattern.split("...").map(str::trim);
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for piece in pieces {
        last = Some(piece);
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    match last {
        None => rest.is_empty(),
        Some(piece) => piece.is_empty() || rest.is_empty() || text.ends_with(piece),
    }
}

#[test]
fn an_output_is_like_what_is_shown_where_that_leaves_something_out() {
    let table = [
        ("one  two\nthree", "one two\nthree", true),
        ("one two", "one", false),
        ("one 17 ms two", "one ... ms two", true),
        ("one 17 ms two", "one ...", true),
        ("one 17 ms two", "... two", true),
        ("one 17 ms two three", "... two", false),
        ("one 17 ms two", "one ... three", false),
    ];
    for (text, pattern, expected) in table {
        assert_eq!(is_like(text, pattern), expected, "{text:?} {pattern:?}");
    }
}

/// What fails is told with the page's own line, and what was printed before.
#[test]
fn a_block_that_fails_is_told_with_its_line() {
    let page =
        Page::of("docs/guide/page.md", "# Page\n\n```sh\necho printed\n```\n\nmore\n\n```sh\ntrue\nfalse\n```\n");
    let directory = tempfile::tempdir().unwrap();
    let blocks = page.blocks_of("sh");
    let files: Vec<Files> = blocks.iter().map(|block| Files::write(&page, block, directory.path())).collect();
    let mut script = "set -eE\ntrap 'echo \"${BASH_SOURCE[0]}:$LINENO\"' ERR\n".to_owned();
    // Told here on standard output, which the block's own is not.
    script.push_str(&files[0].command(&blocks[0]));
    script.push_str(&files[1].command(&blocks[1]));
    let done = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(!done.status.success());
    assert_eq!(files[0].printed(), "printed\n");
    assert!(files[1].printed().trim_end().ends_with("page.md:11"), "{}", files[1].printed());
}
