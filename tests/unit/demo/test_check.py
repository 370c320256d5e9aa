"""What the judge says of a whole run: its chain, its figures, and evidence that is not there."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.check.evidence import EvidenceError, read
from demo.check.invariants import INVARIANTS, judge
from demo.check.summary import latency, lines, summarize
from demo.plants import break_chain, lose_completion
from tests.unit.demo.damage import Damage, two_owners_by_their_word
from tests.unit.demo.evidence import good_case


def drop_an_entry(lines: list[str]) -> None:
    del lines[4]


def swap_two_entries(lines: list[str]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def cut_the_end(lines: list[str]) -> None:
    del lines[-1]


def change_a_body(lines: list[str]) -> None:
    lines[5] = lines[5].replace("busy", "heir")


def change_a_hash(lines: list[str]) -> None:
    changed = json.loads(lines[5])
    lines[5] = json.dumps(changed | {"hash": "0" * 64})


def damage_a_body_beyond_reading(lines: list[str]) -> None:
    changed = json.loads(lines[5])
    lines[5] = json.dumps(changed | {"body": changed["body"][:-1]})


@pytest.mark.parametrize(
    "tamper",
    [
        drop_an_entry,
        swap_two_entries,
        cut_the_end,
        change_a_body,
        change_a_hash,
        damage_a_body_beyond_reading,
    ],
)
def test_a_log_that_was_tampered_with_breaks_the_chain(
    tamper: Callable[[list[str]], None], tmp_path: Path
) -> None:
    good_case().write(tmp_path)
    export = tmp_path / "witness.jsonl"
    entries = export.read_text().splitlines()
    tamper(entries)
    export.write_text("\n".join(entries) + "\n")
    findings = {finding.name: finding for finding in judge(read(tmp_path))}
    assert findings["witness-chain"].violations


def test_a_changed_letter_breaks_the_chain(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    break_chain(tmp_path / "witness.jsonl")
    assert {f.name for f in judge(read(tmp_path)) if f.violations} == {"witness-chain"}


def test_a_forged_log_is_a_whole_chain_and_shows_by_what_it_lost(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    lose_completion(tmp_path / "witness.jsonl")
    evidence = read(tmp_path)
    found = {finding.name: finding.violations for finding in judge(evidence) if finding.violations}
    assert set(found) == {
        "witness-chain",
        "acknowledged-completion-is-in-the-witness-log",
        "help-ended-with-the-blocker",
    }
    assert "forged" in found["witness-chain"][0]


def test_the_summary_is_computed_from_journals_and_log(tmp_path: Path) -> None:
    evidence = good_case().evidence(tmp_path)
    summary = summarize(evidence)
    assert (summary.tasks, summary.completions) == (3, {1: 3})
    once = {"own": 1, "extra": 1, "trial": 1, "again": 1, "hard": 1, "B.1": 1}
    assert summary.attempts == once | {"taken": 2}
    assert (summary.fenced, summary.cost_micros, summary.entries) == (2, 2_000_000, 32)
    # The four assignments that Python agents received, 5 ms after the log's time of decision.
    assert summary.push.count == 4
    assert summary.push.p99 == pytest.approx(5, abs=0.01)
    assert summary.claim.count == 1
    text = "\n".join(lines(evidence, summary, judge(evidence)))
    assert "3 of 3, each exactly once" in text
    assert text.endswith(f"OK: all {len(INVARIANTS)} invariants hold")


def test_percentiles_are_measurements() -> None:
    measured = latency([each / 1000 for each in range(1, 201)])
    assert (measured.count, measured.p50, measured.p99) == (200, 100, 198)
    assert str(latency([])) == "not measured"
    assert latency([0.007]).p99 == 7


@pytest.mark.parametrize(
    ("damage", "status", "said"),
    [
        (None, 0, "OK: all"),
        (two_owners_by_their_word, 1, "FAILED: broken invariant: one-owner-per-attempt"),
    ],
)
def test_the_judge_is_a_program(
    damage: Damage | None, status: int, said: str, tmp_path: Path
) -> None:
    case = good_case()
    if damage is not None:
        damage(case)
    case.write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "demo.check", tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr


@pytest.mark.parametrize("missing", ["run.json", "board.yaml", "witness.jsonl"])
def test_missing_evidence_is_named(missing: str, tmp_path: Path) -> None:
    good_case().write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(EvidenceError, match=missing):
        read(tmp_path)


def test_a_journal_that_is_no_json_is_named(tmp_path: Path) -> None:
    good_case().write(tmp_path)
    (tmp_path / "journals" / "heir.jsonl").write_text('{"event": "opened"}\n{"ev')
    with pytest.raises(EvidenceError, match=r"heir\.jsonl, line 2: not JSON"):
        read(tmp_path)
