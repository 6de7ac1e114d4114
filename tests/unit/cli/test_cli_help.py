"""Every page of help says what its command does, what each argument takes, one example and the exit statuses."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from plumbline.cli.commands import _parser
from plumbline.cli.terminal.usage import EXIT_STATUSES

ROOT = Path(__file__).parents[3]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each)


PAGES = {each.prog: each for each in parsers(_parser())}


@pytest.mark.parametrize("name", PAGES)
def test_every_argument_has_help(name: str) -> None:
    arguments = [each for each in PAGES[name]._actions if not isinstance(each, argparse._SubParsersAction)]
    assert [each.dest for each in arguments if not each.help] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_an_example_that_the_parser_takes(name: str) -> None:
    page = PAGES[name].format_help()
    assert PAGES[name].description
    [example] = re.findall(r"^example:\n((?:  .*\n)+)", page, re.MULTILINE)
    assert example.startswith(f"  {name} ")
    program, *arguments = shlex.split(example.replace("\\\n", ""))
    assert program == "plumbline" and _parser().parse_args(arguments).run


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_exit_statuses(name: str) -> None:
    page = PAGES[name].format_help()
    listed = {int(number) for number in re.findall(r"^  (\d+) +\S", page.partition("exit status:")[2], re.MULTILINE)}
    assert {0, 1, 2, 130} <= listed <= set(EXIT_STATUSES)
    assert (3 in listed) is (name in ("plumbline", "plumbline doctor", "plumbline diff", "plumbline evaluate"))


@pytest.mark.parametrize("name", ["baseline", "evaluate"])
def test_every_option_is_in_the_document_about_files(name: str) -> None:
    text = (ROOT / "docs/evaluating-files.md").read_text(encoding="utf-8")
    options = {option for each in PAGES[f"plumbline {name}"]._actions for option in each.option_strings}
    named = set(re.findall(r"--[a-z-]+[a-z]", text))
    assert options - {"-h", "--help"} <= named
    every = {option for page in PAGES.values() for each in page._actions for option in each.option_strings}
    assert named <= every


@pytest.mark.parametrize("name", PAGES)
def test_every_option_that_takes_one_value_is_refused_when_it_is_given_twice(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in PAGES[name]._actions:
        if not option.option_strings or option.nargs == 0 or isinstance(option, argparse._AppendAction):
            continue
        value = next(iter(option.choices)) if option.choices else "1"
        long = option.option_strings[-1]
        with pytest.raises(SystemExit) as caught:
            _parser().parse_args([*name.split()[1:], long, value, long, value])
        assert caught.value.code == 2
        assert f"{name}: error: argument {long}: given twice; expected once\n" in capsys.readouterr().err


def test_an_option_that_is_to_be_repeated_may_be() -> None:
    options = _parser().parse_args(["redrive", "--message", "a", "--message", "b"])
    assert options.messages == ["a", "b"]
