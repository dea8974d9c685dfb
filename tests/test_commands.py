"""The command of the package: its names, its help, and how a mistake ends."""

import subprocess
import sys

import pytest

from tfunroll import commands


def test_without_a_command_all_are_listed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfunroll"])
    commands.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(commands.COMMANDS)
    assert all(line.endswith(".") for line in lines)


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfunroll", "trian"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 'trian' is no command; allowed: train, ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_says_what_it_takes(name):
    """In a process each, as flags are global."""
    command = [sys.executable, "-m", "tfunroll", name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\n  --" in done.stdout
    assert "--flagfile" in done.stdout


def test_a_mistake_ends_with_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "tfunroll", "export", f"--run={tmp_path}", "--out=x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
