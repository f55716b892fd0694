//! Manual pages and completions, as packages have them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bed::Home;

#[path = "../../examples/manual/pages.rs"]
mod pages;

/// Whether a tool of the machine has nothing to say about a file; also where it is not installed.
#[track_caller]
fn is_content(program: &str, arguments: &[&str], file: &Path) {
    let mut command = Command::new(program);
    command.args(arguments).arg(file).env("MANROFFSEQ", "").env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
    let Ok(output) = command.stdout(Stdio::null()).output() else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{program} {}: {told}", file.display());
}

#[test]
fn every_command_has_a_page_and_each_can_be_shown() {
    let directory = tempfile::tempdir().unwrap();
    pages::write_to(directory.path()).unwrap();
    for command in cosmount::cli::command().get_subcommands() {
        let page = directory.path().join(format!("man1/cosmount-{}.1", command.get_name()));
        assert!(page.exists(), "{}", page.display());
    }
    let mut pages = Vec::new();
    for section in ["man1", "man7", "man8"] {
        pages.extend(fs::read_dir(directory.path().join(section)).unwrap().map(|entry| entry.unwrap().path()));
    }
    for page in pages {
        // Links are found by name, where pages are installed.
        if !fs::read_to_string(&page).unwrap().starts_with(".so ") {
            is_content("man", &["--warnings", "--local-file"], &page);
        }
    }
    let mount = fs::read_to_string(directory.path().join("man1/cosmount-mount.1")).unwrap();
    assert!(mount.contains("part\\-size") && !mount.contains("by\\-mount"));
}

#[test]
fn the_page_of_semantics_has_all_of_it_but_names_of_tests() {
    let directory = tempfile::tempdir().unwrap();
    pages::write_to(directory.path()).unwrap();
    let page = fs::read_to_string(directory.path().join("man7/cosmount.7")).unwrap();
    let document = include_str!("../../docs/SEMANTICS.md");
    let headings = document.lines().filter_map(|line| line.strip_prefix("### "));
    for heading in headings {
        let heading = heading.replace('`', "").replace('-', "\\-").replace('\'', "\\(aq");
        assert!(page.contains(&format!(".SS \"{heading}\"")), "{heading}");
    }
    assert!(!page.contains("::"), "names of tests");
    assert!(page.contains(".TP\n\\fBuser.cosmount.etag\\fR\n"), "rows of tables");
}

#[test]
fn completions_are_what_their_shell_reads() {
    let home = Home::new();
    for (shell, check) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let done = home.run(&["completions", shell]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{shell}");
        let script = home.write(&format!("completions.{shell}"), &done.stdout, 0o644);
        is_content(shell, check, &script);
    }
    let refused = home.run(&["completions", "tcl"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("bash"), "{refused:?}");
}

/// The command line of bash, as it completes it.
#[test]
fn bash_completes_commands_and_options() {
    let home = Home::new();
    let script = home.run(&["completions", "bash"]).stdout;
    let script = home.write("completions", &script, 0o644);
    let complete = |words: &str, last: usize| {
        let program = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; _cosmount cosmount \"${{COMP_WORDS[{last}]}}\" x; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        String::from_utf8(Command::new("bash").args(["-c", &program]).output().unwrap().stdout).unwrap()
    };
    assert_eq!(complete("cosmount unm", 1).trim(), "unmount");
    assert_eq!(complete("cosmount mount --part", 2).trim(), "--part-size");
    assert_eq!(complete("cosmount mount --by", 2).trim(), "");
}
