"""Manuals and completions that are made of the parsers: rendered and completed by the programs that read them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys

import pytest
from builders import ROOT

SHARE = ROOT / "share"


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


PARSED = load("command_line")
MANUAL, COMPLETION, GENERATE = load("manual"), load("completion"), load("generate")
PROGRAMS = {made.prog: PARSED.command(made) for made in GENERATE.PARSERS}
WORST = PARSED.Command(
    "worst-of",
    'its `text` isn\'t "plain": $HOME, [a]\\n',
    "usage: worst-of [-h] VERB",
    (PARSED.Option(("-o", "--option"), "what's [it]: `date` $(date) \\ 'x'", "A:B", ()),),
    "exit codes:\n  0  .done\n",
    (
        PARSED.Command(
            "verb",
            'it\'s `date` "quoted": $(date) \\x [y]',
            "usage: worst-of verb [-h] x",
            (PARSED.Option((), "'which", "X", ("one", "two")), PARSED.Option(("--form",), ".form", "F", ("a1", "b2"))),
            "example:\n  worst-of verb 'x' .y\n",
        ),
    ),
)
WORDS = [
    ("speedtest-logger", ["me"], ["measure"]),
    ("speedtest-logger", ["measure", "--"], ["--help", "--json", "--scheduled", "--deliver", "--wait"]),
    ("speedtest-logger", ["--env-file", "x", "config", ""], ["-h", "--help", "check", "show"]),
    ("speedtest-archive", ["--root", "/srv", "query", "--format", "j"], ["json", "jsonl"]),
    ("speedtest-archive", ["export", "--format", "s"], ["sqlite", "speedsnake"]),
    ("speedtest-archive", ["latest", "--l"], ["--location", "--last"]),
    ("speedtest-alerts", ["replay", "--s"], ["--set"]),
    ("speedtest-archive", ["export", "/tm"], []),  # bash goes on with files
]


def run(*argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240, **options)


def completed_by_bash(script, function, words):
    """What bash offers for the last word."""
    ask = f'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); {function}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = run("bash", "--norc", "-c", f"{script}\n{ask}", "bash", *words)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(("program", "words", "offered"), WORDS)
def test_bash_completes(program, words, offered):
    script = (SHARE / "bash-completion/completions" / program).read_text()
    assert completed_by_bash(script, "_" + program.replace("-", "_"), [program, *words]) == offered
    assert f"complete -o default -F _{program.replace('-', '_')} {program}" in script


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_knows_every_verb_and_option(program):
    script = (SHARE / "bash-completion/completions" / program).read_text()
    function = "_" + program.replace("-", "_")
    offered = completed_by_bash(script, function, [program, ""])
    assert {verb.name for verb in PROGRAMS[program].verbs} <= set(offered)
    for verb in PROGRAMS[program].verbs:
        assert set(completed_by_bash(script, function, [program, verb.name, "-"])) == set(verb.flags)


@pytest.mark.parametrize("made", [*PROGRAMS.values(), WORST], ids=lambda made: made.name)
@pytest.mark.parametrize("shell", [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)])
def test_a_shell_takes_its_script(made, shell, tmp_path):
    file = tmp_path / "script"
    file.write_text(getattr(COMPLETION, shell)(made))
    done = run(shell, "-n", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_a_text_is_a_command_in_any_shell():
    assert completed_by_bash(COMPLETION.bash(WORST), "_worst_of", ["worst-of", "verb", "--form", ""]) == ["a1", "b2"]
    described = re.search(r"'1:VERB:\(\((.*)\)\)'", COMPLETION.zsh(WORST))[1]
    said = run("bash", "-c", f"printf %s '{described}'").stdout  # as zsh gets it
    inner = said.partition("\\:")[2]
    assert run("bash", "-c", f"printf %s {inner}").stdout == 'it\'s `date` "quoted"\\: $(date) \\x [y]'
    for line in COMPLETION.fish(WORST).splitlines()[1:]:
        assert re.search(r" -d '(?:[^'\\]|\\.)*'$|-a 'one two'$", line), line


def rendered(file):
    """A manual's words as groff prints them, in lines that are long enough; fails on any warning."""
    done = run("groff", "-man", "-ww", "-Tascii", "-P-cbu", "-rHY=0", "-rLL=300n", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


@pytest.mark.parametrize("made", [*PROGRAMS.values(), WORST], ids=lambda made: made.name)
def test_a_manual_renders_without_a_warning_and_leaves_nothing_out(made, tmp_path):
    (tmp_path / "page.1").write_text(MANUAL.page(made, "1.2.3"))
    words = rendered(tmp_path / "page.1")
    for verb in made.verbs:
        assert f" {verb.name} {verb.text[0].upper()}{verb.text[1:]}. " in words
        for option in verb.options:
            assert " ".join(filter(None, (", ".join(option.flags), option.value, option.text))) in words
        example = next(line.strip() for line in verb.epilog.splitlines() if line.startswith("  "))
        assert " ".join(example.split()) in words
    assert "EXIT STATUS 0 " in words


def test_a_manual_says_the_exit_codes():
    assert "7 a file may not be opened by this account: use sudo" in rendered(SHARE / "man/man1/speedtest-archive.1")


def test_the_artifact_has_them():
    sys.path.insert(0, str(ROOT / "plugins/lookup"))
    import release

    files = release.contents()
    made = {f"share/{file.relative_to(SHARE)}" for file in SHARE.rglob("*") if file.is_file()}
    assert len(made) == 4 * len(PROGRAMS)
    assert made <= set(files)
    assert not any(executable for name, (_, executable) in files.items() if name in made)
