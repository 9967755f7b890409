"""A command line as plain data, from its argparse parser: what manuals and completions are made of."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option, or an argument (no flags): `value` is its metavar, empty where it takes none."""

    flags: tuple[str, ...]
    text: str
    value: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A program, or one of its verbs."""

    name: str
    text: str
    usage: str
    options: tuple[Option, ...]
    epilog: str
    verbs: tuple[Command, ...] = ()

    @property
    def flags(self) -> list[str]:
        """Every option's spellings."""
        return [flag for option in self.options for flag in option.flags]


def command(parser: argparse.ArgumentParser, text: str = "") -> Command:
    """A parser's command, with its verbs."""
    verbs: tuple[Command, ...] = ()
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            verbs = tuple(command(verb, texts[name]) for name, verb in action.choices.items())
        else:
            options.append(_option(parser, action))
    name = parser.prog.rpartition(" ")[2]
    return Command(
        name, text or parser.description or "", parser.format_usage(), tuple(options), parser.epilog or "", verbs
    )


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices or ()))
    value = ""
    if action.nargs != 0:
        value = str(action.metavar or ("|".join(choices) if choices else action.dest.upper()))
    return Option(tuple(action.option_strings), _expanded(parser, action), value, choices)


def _expanded(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    known: dict[str, Any] = {**vars(action), "prog": parser.prog}
    return (action.help or "") % known
