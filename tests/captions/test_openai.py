"""Captions by a service: what is sent, what goes wrong, what is kept, and where the key is not."""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sip.captions import asking
from sip.captions.answers import Answers
from sip.captions.asking import asks, tidy
from sip.captions.openai import OpenAi
from sip.captions.service import Answer
from sip.core.errors import UserError
from sip.core.image_io import read_rgb
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.jobs.generate import Generation
from sip.store.fill import Filled, fill
from sip.store.stage import StageStore, Store
from tests.captions.images import make_samples
from tests.captions.server import Server, answer, failure, image_of, serving, usual
from tests.kills import configuration

KEY = "sk-test-0123456789-secret"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    sizes = [(40 + 2 * number, 32) for number in range(12)]
    return make_samples(tmp_path_factory.mktemp("images"), sizes)


def openai(server: Server, **changed: Any) -> OpenAi:
    values = {
        "base_url": server.url, "key_variable": None, "model": "tiny", "instruction": "Say it.",
        "num_captions": 1, "temperature": 0.0, "top_p": None, "max_tokens": 60, "seed": 0,
        "extra": {}, "max_side": 768, "image_format": "jpeg", "detail": None, "timeout": 5.0,
        "max_retries": 3, "backoff": 0.001, "concurrency": 2, "requests_per_minute": None,
        "input_price": None, "output_price": None,
    }  # fmt: skip
    return OpenAi(**{**values, **changed})


def stage_of(captioner: OpenAi, folder: Path) -> StageStore:
    return Store(folder).stage("captions", "openai", captioner.recipe())


def ask(captioner: OpenAi, samples: list[Sample], folder: Path, retry: bool = False) -> Filled:
    stage = stage_of(captioner, folder)
    wanted = {captioner.key(sample): sample for sample in samples}
    return fill(stage, wanted, asks(captioner, stage, 1), 1, 512, retry_failed=retry)


def test_what_is_sent_and_what_is_stored(server, samples, tmp_path, capsys):
    captioner = openai(
        server, num_captions=2, temperature=0.7, top_p=0.9, extra={"reasoning_effort": "low"},
        detail="low", max_side=32, image_format="png", input_price=2.0, output_price=10.0,
    )  # fmt: skip
    rows = ask(captioner, samples[:3], tmp_path).rows
    assert len(server.bodies) == 6 and len({body["seed"] for body in server.bodies}) == 6
    body = server.bodies[0]
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens")} == {
        "model": "tiny", "temperature": 0.7, "top_p": 0.9, "max_tokens": 60,
    }  # fmt: skip
    assert body["reasoning_effort"] == "low"
    text, image = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "Say it."} and image["image_url"]["detail"] == "low"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert image_of(body).size[0] == 32
    for row in rows.values():
        assert len(row["captions"]) == 2 and row["status"] == "ok"
        assert row["captions"][0].startswith("an image of 32 px, seed ")
        counts = [row[name] for name in ("model", "requests", "input_tokens", "output_tokens")]
        assert counts == ["tiny-2026", 2, 200, 14]
    said = capsys.readouterr().err
    expected = "6 requests, 6 answers with 600 input and 42 output tokens, 0.0016 by captions.input"
    assert expected in said


def test_png_is_sent_without_loss_and_only_set_values_are_sent(server, samples, tmp_path):
    changed = {"temperature": None, "max_tokens": None, "seed": None, "image_format": "png"}
    ask(openai(server, **changed), samples[:1], tmp_path)
    assert set(server.bodies[0]) == {"model", "messages"}
    assert image_of(server.bodies[0]).tobytes() == read_rgb(samples[0].path, None).tobytes()


def test_requests_overlap_up_to_the_limit(server, samples, tmp_path):
    server.delay = 0.1
    ask(openai(server, concurrency=4), samples, tmp_path)
    assert server.most == 4 and len(server.bodies) == 12
    server.most = 0
    ask(openai(server, concurrency=1, seed=1), samples[:3], tmp_path)
    assert server.most == 1


def test_a_rate_limit_spaces_requests(server, samples, tmp_path):
    ask(openai(server, requests_per_minute=1200.0, concurrency=4), samples[:4], tmp_path)
    times = sorted(server.times)
    assert all(b - a > 0.035 for a, b in zip(times, times[1:], strict=False))


FAULTS = {
    "429": failure(429, "slow down"),
    "500": failure(500),
    "503": (503, {}, b"<html>busy</html>"),
    "cut": None,
    "no JSON": (200, {}, b"{"),
    "HTML": (200, {}, b"<!doctype html><p>Log in</p>"),
    "a list": (200, {}, b"[]"),
    "no choices": (200, {}, json.dumps({"choices": []}).encode()),
    "a strange choice": (200, {}, json.dumps({"choices": [{"message": "hi"}]}).encode()),
    "empty": answer("  "),
    "no text": answer(None),
    "at its limit": answer("", finish_reason="length"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_can_pass_is_asked_again(server, samples, tmp_path, fault):
    server.script = [fault, fault]
    (row,) = ask(openai(server), samples[:1], tmp_path).rows.values()
    assert (row["status"], row["requests"], len(server.bodies)) == ("ok", 3, 3)
    assert row["input_tokens"] == 100


def test_slow_answers_are_given_up(server, samples, tmp_path):
    server.script = [lambda body: time.sleep(0.5) or usual(body)]
    (row,) = ask(openai(server, timeout=0.1), samples[:1], tmp_path).rows.values()
    assert (row["status"], row["requests"]) == ("ok", 2)


@pytest.mark.parametrize("stated", ["0.3", "date"])
def test_retry_after_is_honoured_by_all(server, samples, tmp_path, stated):
    after = stated if stated != "date" else formatdate(time.time() + 1.5, usegmt=True)
    server.script = [(429, {"Retry-After": after}, b"{}")]
    rows = ask(openai(server, concurrency=1), samples[:2], tmp_path).rows
    assert [row["status"] for row in rows.values()] == ["ok", "ok"]
    assert server.times[1] - server.times[0] > 0.28


def test_backoff_doubles_with_jitter(server, samples, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("sip.captions.service.Pace.sleep", lambda pace, s: waits.append(s))
    server.script = [failure(500)] * 5 + [usual]
    ask(openai(server, backoff=10.0, max_retries=5), samples[:1], tmp_path)
    waits = [seconds for seconds in waits if seconds > 0.01]
    for seconds, most in zip(waits, (10, 20, 40, 60, 60), strict=True):
        assert most / 2 <= seconds <= most
    assert len({seconds / most for seconds, most in zip(waits, (10, 20, 40), strict=False)}) == 3


FATAL = {
    "wrong key": (failure(401, f"Incorrect API key provided: {KEY}"), "key_variable: must .*401"),
    "forbidden": (failure(403), r"key_variable: must .*403"),
    "wrong model": (failure(404, "no such model"), r"captions.model: .*'tiny' \(HTTP 404: no such"),
    "no quota": (failure(429, "pay", code="insufficient_quota"), "no quota left"),
    "redirect": ((302, {"Location": "https://example.org"}, b""), "captions.base_url: must be"),
    "tomorrow": ((429, {"Retry-After": "86400"}, b"{}"), "asks to wait 1 d 0 h"),
}


@pytest.mark.parametrize(("fault", "words"), FATAL.values(), ids=FATAL)
def test_what_cannot_pass_ends_the_work_at_once(server, samples, tmp_path, fault, words):
    server.script = [usual, usual, usual, fault, *[fault] * 50]
    captioner = openai(server, concurrency=1, backoff=5.0)
    with pytest.raises(UserError, match=words) as raised:
        ask(captioner, samples, tmp_path)
    assert len(str(raised.value).splitlines()) == 1 and KEY not in str(raised.value)
    assert len(server.bodies) == 4  # no storm of retries
    server.script = []
    filled = ask(captioner, samples, tmp_path)  # the same command goes on
    assert len(server.bodies) == 4 + len(samples) - 3
    assert all(row["status"] == "ok" for row in filled.rows.values())


DECLINED = {
    "refusal": (answer(None, message={"refusal": "I cannot", "content": None}), "declined: I cann"),
    "filter": (answer("x", finish_reason="content_filter"), "declined by a content filter"),
    "too large": (failure(413, "too large"), "HTTP 413: too large"),
}


@pytest.mark.parametrize(("fault", "words"), DECLINED.values(), ids=DECLINED)
def test_a_declined_image_is_a_failed_row(server, samples, tmp_path, fault, words):
    server.script = [fault]
    captioner = openai(server, concurrency=1)
    rows = list(ask(captioner, samples[:3], tmp_path).rows.values())
    assert [row["status"] for row in rows] == ["failed", "ok", "ok"]
    assert rows[0]["error"].startswith(words) and rows[0]["requests"] == 1
    ask(captioner, samples[:3], tmp_path)
    assert len(server.bodies) == 3  # it is not asked again
    again = ask(captioner, samples[:3], tmp_path, retry=True)
    assert len(server.bodies) == 4 and again.computed == 1
    assert [row["status"] for row in again.rows.values()] == ["ok"] * 3


def test_if_nothing_answers_no_row_is_blamed(server, samples, tmp_path, capfd):
    server.script = [failure(500)] * 100
    captioner = openai(server, max_retries=1)
    with pytest.raises(UserError, match=r"must answer, got none for 10 images in a row \(HTTP 500"):
        ask(captioner, samples, tmp_path)
    assert len(server.bodies) <= 24 and stage_of(captioner, tmp_path).keys() == []
    with pytest.raises(UserError, match="got none for 1 image in a row"):
        ask(captioner, samples[:1], tmp_path)
    server.script = [failure(500)] * 2  # one image fails, the others are answered
    rows = ask(openai(server, max_retries=1, concurrency=1), samples[:2], tmp_path).rows
    assert [row["status"] for row in rows.values()] == ["failed", "ok"]
    gone = openai(server, base_url="http://127.0.0.1:9/v1", max_retries=1, seed=2)
    capfd.readouterr()
    with pytest.raises(UserError, match="nothing answers there"):
        ask(gone, samples[:1], tmp_path)
    first = "captions     http://127.0.0.1:9/v1: nothing answers there; asking again, up to 1 time"
    assert capfd.readouterr().err.count(first) == 1


def test_an_unreadable_image_costs_its_own_row_and_no_request(server, samples, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    broken = Sample("bad", str(bad), 0, "one", "train", 8, 8, "0" * 64)
    rows = ask(openai(server), [broken, samples[0]], tmp_path).rows
    assert [row["status"] for row in rows.values()] == ["failed", "ok"]
    assert len(server.bodies) == 1


def test_answers_outlive_a_kill_and_only_missing_ones_are_asked_for(server, samples, tmp_path):
    captioner = openai(server, num_captions=2, temperature=0.5, concurrency=1)
    stage = stage_of(captioner, tmp_path)

    def killed(batches, add):  # as if the process were killed: nothing that it added is committed
        answers = Answers(stage.folder / "answers")
        work = asking.Asking(captioner, answers, 1)
        work._row(samples[0])
        answer = work.service.ask(captioner.body(samples[1], captioner.encoded(IMAGE), 0))
        answers.add((samples[1].sha256, 0), answer)
        answers._file.write(b'["half a li')
        answers.__exit__()
        work.service.close()
        raise KeyboardInterrupt

    IMAGE = read_rgb(samples[1].path, None)
    wanted = {captioner.key(sample): sample for sample in samples[:3]}
    with pytest.raises(KeyboardInterrupt):
        fill(stage, wanted, killed, 1, 512)
    assert len(server.bodies) == 3 and stage.keys() == []
    rows = ask(captioner, samples[:3], tmp_path).rows
    assert len(server.bodies) == 6
    assert [len(row["captions"]) for row in rows.values()] == [2, 2, 2]
    assert [row["requests"] for row in rows.values()] == [2, 2, 2]
    stage.refresh()
    tidy(stage)
    assert not (stage.folder / "answers").exists()


def test_answers_that_are_not_stored_or_still_written_are_kept(tmp_path):
    one = Answer("a", "m", 1, 2, 3)
    with Answers(tmp_path) as answers:
        answers.add(("k", 0), one)
        Answers.tidy(tmp_path, {"k"})
        assert Answers(tmp_path).known == {("k", 0): one}
    Answers.tidy(tmp_path, {"other"})
    assert Answers(tmp_path).known == {("k", 0): one}
    Answers.tidy(tmp_path, {"k"})
    assert not tmp_path.exists()


def test_a_stop_ends_waiting(server, samples, tmp_path):
    server.script = [failure(500)] * 100
    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(openai(server, backoff=30.0), samples, tmp_path)
    assert time.monotonic() - started < 5
    assert stage_of(openai(server), tmp_path).keys() == []  # no row is blamed


def test_the_key_is_sent_and_nowhere_else(server, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    server.script = [
        *[failure(500, f"Bearer {KEY} is tired"), failure(400, f"cannot read {KEY}")],
        lambda body: answer(f"a caption with {KEY}"),
    ]
    config = configuration(
        tmp_path, "captions=openai", f"captions.base_url={server.url}", "dataset.shots=1",
        "captions.key_variable=TEST_KEY", "captions.concurrency=1", "captions.backoff=0.001",
        "images.per_sample=1", "images.num_steps=2", "images.max_failed=1",
    )  # fmt: skip
    job = Generation(config)
    plan = job.plan()
    assert not server.bodies  # a plan asks for nothing
    assert plan.lines()["requests"].startswith(f"10 requests to {server.url} (qwen2.5vl:7b)")
    job.run()
    assert all(h["Authorization"] == f"Bearer {KEY}" for h in server.headers)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    said = capsys.readouterr()
    texts = [said.out, said.err, caplog.text, repr(job.offline.captioner), str(config)]
    assert b"[key]" in written and not any(KEY in text for text in [*texts, str(written)])
    assert "no caption: " in said.err and "cannot read [key]" in said.err
    assert "1 no caption" in said.out + said.err and "unreadable" not in said.err
    summary = next((tmp_path / "runs").glob("*/summary.json")).read_text()
    assert json.loads(summary)["failures"] == {"no caption": 1}
    (lost,) = [row for row in listed_rows(tmp_path) if row["reason"]]
    assert (lost["kind"], lost["status"], lost["reason"]) == ("real", "ok", "no caption")
    assert "cannot read [key]" in lost["error"]


def listed_rows(folder):
    (file,) = (folder / "runs").glob("*/images.parquet")
    return pq.read_table(file).to_pylist()


def test_if_every_image_is_declined_no_export_is_offered(server, tmp_path, capsys):
    server.script = [answer(None, message={"refusal": "I cannot", "content": None})] * 10
    config = configuration(
        tmp_path, "captions=openai", f"captions.base_url={server.url}", "dataset.shots=1",
        "images.per_sample=1", "images.max_failed=1",
    )  # fmt: skip
    Generation(config).run()
    said = capsys.readouterr().out
    assert "none: nothing was generated" in said and "sip.export" not in said
    rows = listed_rows(tmp_path)
    assert {(row["kind"], row["reason"], row["error"]) for row in rows} == {
        ("real", "no caption", "declined: I cannot")
    }


def test_other_sizes_of_a_job_ask_only_for_new_images(server, tmp_path):
    changes = ("captions=openai", f"captions.base_url={server.url}", "images.per_sample=1")
    for shots, num in ((1, 10), (2, 20), (2, 20)):
        job = Generation(configuration(tmp_path, *changes, f"dataset.shots={shots}"))
        captions = job.offline._captions(job.samples(), StageLog())
        assert len(captions) == len(server.bodies) == num
    assert not list(tmp_path.rglob("answers"))


def test_a_key_is_required_where_one_is_named(server, monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    named = openai(server, key_variable="TEST_KEY")
    with pytest.raises(UserError, match="got nothing in TEST_KEY; export it"):
        named.require()
    monkeypatch.setenv("TEST_KEY", "two\nlines")
    with pytest.raises(UserError, match="got characters that no key has in TEST_KEY"):
        named.require()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"key_variable": KEY}, r"key_variable: must be the name of .* got another text \(not sh"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, r"base_url: must be http.* got another text"),
        ({"base_url": f"https://host/v1?key={KEY}"}, r"base_url: must be http.* got another text"),
        ({"base_url": "localhost:8000"}, "base_url: must be http.* got 'localhost:8000'"),
        ({"num_captions": 4}, "num_captions: must be 1 at a temperature of 0, got 4"),
        ({"extra": {"model": "x"}}, r"extra: must be without .* got \['model'\]"),
        ({"instruction": " "}, "instruction: must be text"),
    ],
)
def test_wrong_values_are_refused_without_showing_secrets(server, changed, words):
    with pytest.raises(UserError, match=words) as raised:
        openai(server, **changed)
    assert KEY not in str(raised.value)


def test_the_recipe_is_the_request_and_not_the_way_to_the_service(server):
    recipe = openai(server).recipe()
    elsewhere = openai(
        server, base_url="https://host/v1", key_variable="A_KEY", concurrency=9, timeout=1.0,
        max_retries=0, backoff=2.0, requests_per_minute=3.0, input_price=1.0, output_price=1.0,
    )  # fmt: skip
    assert elsewhere.recipe() == recipe
    for changed in ({"model": "x"}, {"max_side": 9}, {"extra": {"a": 1}}, {"seed": None}):
        assert openai(server, **changed).recipe() != recipe


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://host:99999/v1", "http://host:x/v1", "http://me:k@[host/v1"]
)
def test_an_address_that_is_none_is_refused_before_any_work(server, url):
    with pytest.raises(UserError, match="base_url: must be http://HOST/v1 or https") as raised:
        openai(server, base_url=url)
    assert ("@" in url) == (url not in str(raised.value))
