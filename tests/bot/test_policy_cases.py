"""Files of cases: those of the examples hold, a wrong one says what is wrong, and every fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.policies import load_policies, load_tables, schedules_of
from bot.policy_cases import load_cases, run_cases
from graph_runtime import PolicyError

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
FILES = sorted(one for one in EXAMPLES.glob("*.toml") if not one.name.endswith(".cases.toml"))
POLICIES = '[policies.two]\nrequire = [{ name = "sre", group = "S0SRE", count = 2 }]\ndeadline = "4h"\n'
PEOPLE = 'people = { U0ANN = ["S0SRE"], U0BOB = ["S0SRE"] }\n'


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_policies_of_the_scenarios_load_and_do_what_their_cases_say(file: Path):
    cases = load_cases(file.with_suffix(".cases.toml"))
    assert cases.policies == file.name
    results = run_cases(cases, load_policies(file))
    assert results and not [one for one in results if one.wrong]


def test_there_are_policies_for_every_scenario():
    assert [file.stem for file in FILES] == ["access", "agent", "deploy", "erase", "refund"]
    assert schedules_of(load_policies(EXAMPLES / "deploy.toml").values()) == {"sre-primary"}


def tried(tmp_path: Path, case: str, people: str = PEOPLE) -> str:
    (tmp_path / "p.toml").write_text(POLICIES)
    (tmp_path / "c.toml").write_text(people + '[[cases]]\nname = "it"\npolicy = "two"\n' + case)
    (one,) = run_cases(load_cases(tmp_path / "c.toml"), load_policies(tmp_path / "p.toml"))
    return "; ".join(one.wrong)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ('expect = "approved"', "it is open at 0 of 2 sre; approved was expected"),
        (
            'expect = "open"\nvotes = ["U0ANN approve: NOT_NEEDED"]',
            "vote 1 (U0ANN approve) is taken; NOT_NEEDED was",
        ),
        (
            'expect = "open"\nvotes = ["U0ANN approve", "U0ANN approve"]',
            "is ALREADY_VOTED; taken was expected",
        ),
        ('expect = "open"\nstanding = "2 of 2 sre"', "it stands at 0 of 2 sre; 2 of 2 sre was expected"),
        ('expect = "open"\ntier = "one"', "the tier is None; one was expected"),
        ('expect = "open"\nvotes = ["U0ZOE approve"]', "nobody is known of U0ZOE"),
        (
            'expect = "open"\nvotes = ["wait 3h", "U0ANN approve", "wait 1h"]',
            "it is timed_out; open was expected",
        ),
        ('expect = "not asked"', "it is open at 0 of 2 sre; not asked was expected"),
    ],
)
def test_a_case_that_comes_out_otherwise_says_how(tmp_path: Path, case: str, words: str):
    assert words in tried(tmp_path, case)


def test_a_case_that_nobody_is_asked_in_says_why(tmp_path: Path):
    (tmp_path / "p.toml").write_text('[policies.two]\npeople = ["U0ANN"]\n')
    (tmp_path / "c.toml").write_text(
        '[[cases]]\nname = "it"\npolicy = "two"\nexpect = "open"\nrequester = "U0ANN"\n'
    )
    (one,) = run_cases(load_cases(tmp_path / "c.toml"), load_policies(tmp_path / "p.toml"))
    assert "it could never be approved" in one.wrong[0]
    (other,) = run_cases(load_cases(tmp_path / "c.toml"), {})
    assert "there is no policy 'two'" in other.wrong[0]


def test_who_acts_for_whom_counts_as_one(tmp_path: Path):
    votes = 'votes = ["U0ANN approve", "U0BOB approve: ALREADY_VOTED"]\nexpect = "open"\n'
    assert tried(tmp_path, votes + "same_person = { U0BOB = 'U0ANN' }\n") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases = 3", "cases: "),
        ("", "cases: Field required"),
        ('[[cases]]\nname = "x"\npolicy = "two"\nexpect = "perhaps"', "cases.0.expect: "),
        ('[[cases]]\nname = "x"\npolicy = "two"\nexpect = "open"\nvotes = ["U0ANN"]', "is no step"),
        (
            '[[cases]]\nname = "x"\npolicy = "two"\nexpect = "open"\nvotes = ["U0ANN nods"]',
            "cases.0.votes.0.verdict",
        ),
        (
            '[[cases]]\nname = "x"\npolicy = "two"\nexpect = "open"\nvotes = [{ by = "U0ANN" }]',
            "a step is a vote",
        ),
        ('[[cases]]\nname = "x"\npolicy = "two"\nexpect = "open"\nvotes = ["U0ANN approve: NO"]', ".refused"),
        ("[[cases", "is no TOML"),
    ],
)
def test_a_file_of_cases_that_is_wrong_says_where(tmp_path: Path, text: str, words: str):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(PolicyError) as raised:
        load_cases(tmp_path / "c.toml")
    assert words in str(raised.value) and "nothing was tested" in str(raised.value)
    with pytest.raises(PolicyError, match="cannot be read"):
        load_cases(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no"),
        ("[policies]", "holds no"),
        ("policies = 3", "holds no"),
        ('database = "x"\n[policies.a]\npeople = ["U1"]', "and no more; there is database"),
        ('calendars = 3\n[policies.a]\npeople = ["U1"]', "holds no [calendars.NAME]"),
        ("[policies.a]\npeople = [", "is no TOML"),
    ],
)
def test_a_policy_file_that_is_wrong_says_where(tmp_path: Path, text: str, words: str):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(PolicyError) as raised:
        load_tables(tmp_path / "p.toml")
    assert words in str(raised.value) and "p.toml" in str(raised.value)
    with pytest.raises(PolicyError, match="cannot be read"):
        load_tables(tmp_path / "none.toml")
