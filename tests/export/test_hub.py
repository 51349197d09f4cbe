"""An export gets to the hub whole, private and once; tokens get nowhere. The hub is a stand-in."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants

from sip.core.errors import UserError
from sip.export import hub as hub_module
from sip.export.__main__ import task
from sip.export.card import SIZES, mark_for
from sip.export.main import FORMATS
from sip.export.source import Source
from tests.composing import composed
from tests.export.hub_server import Dataset, Hub, serving

pytestmark = pytest.mark.filterwarnings(  # of the hub's own upload
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)
TOKEN = "hf_" + "Qz7" * 12
Push = Callable[..., None]
# The hub's own: huggingface/hub-docs, datasetcard.md.
SIZE_CATEGORIES = (
    *("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"),
    *("1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T"),
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, as the one that is logged in to."""
    hub = Hub(TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its protocol is not stood in for
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(hub_module, "WAITS", (0.0, 0.0))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def push(run: Path, tmp_path: Path) -> Push:
    """Return a function that runs the command with these keys."""

    def pushed(name: str = "hub:digits", **changes: Any) -> None:
        keys = {"run": run, "output": tmp_path / "set", "push": name, **changes}
        task(composed(*(f"{key}={value}" for key, value in keys.items()), name="export"))

    return pushed


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def on(hub: Hub, name: str = "me/digits") -> dict[str, bytes]:
    """Return the files of a dataset, without the hub's own."""
    return {k: v for k, v in hub.datasets[name].files.items() if k != ".gitattributes"}


@pytest.mark.parametrize("file_format", ["image_folder", "webdataset", "datasets"])
def test_the_dataset_has_the_folders_bytes_and_nobody_the_token(
    hub: Hub, push: Push, file_format: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    push(format=file_format)
    assert on(hub) == files(tmp_path / "set")
    assert hub.datasets["me/digits"].private
    shown = "".join(capfd.readouterr())
    assert f"pushed to {hub.url}/datasets/me/digits" in shown
    everything = [*files(tmp_path).values(), *hub.stored.values(), *on(hub).values()]
    assert TOKEN not in shown and not any(TOKEN.encode() in content for content in everything)

    before = len(hub.asked)
    push(format=file_format)
    asked = hub.asked[before:]
    assert not any("/commit/" in request or "/upload/" in request for request in asked), asked


def test_the_cards_header_is_what_the_hub_takes(hub: Hub, push: Push) -> None:
    push()
    header = yaml.safe_load(on(hub)["README.md"].decode().split("---\n")[1])
    assert header["license"] == "unknown"
    assert header["task_categories"] == ["image-classification"]
    assert header["size_categories"] == ["n<1K"] and {*SIZES.values()} <= {*SIZE_CATEGORIES}
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "train/**"}]
    assert re.fullmatch("[0-9a-f]{24}", header["sip_export"])


def test_a_busy_hub_is_asked_again(
    hub: Hub, push: Push, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.failing = [
        ["whoami", 500, 1],
        ["GET /api/datasets/", 503, 1],
        ["/repos/create", 429, 1],
        ["/commit/", 500, 1],
        ["/preupload/", 429, 2],
        ["/upload/", 500, 1],
        ["/validate-yaml", 502, 1],
    ]
    push()
    assert all(left == 0 for _, _, left in hub.failing)
    assert on(hub) == files(tmp_path / "set")
    assert "push         the hub answers 500; again in 0 s" in capfd.readouterr().err


def test_what_was_cut_short_goes_on_with_the_edited_card(
    hub: Hub, push: Push, tmp_path: Path
) -> None:
    push_fails = [["/commit/", 500, 0]]
    hub.failing = push_fails

    def fail_after_the_card(request: str, body: bytes) -> tuple[int, Any]:
        push_fails[0][2] = 99 if hub.num_asked("/commit/") > 1 else 0
        return answer(request, body)

    answer, hub.answer = hub.answer, fail_after_the_card  # type: ignore[method-assign]
    with pytest.raises(UserError, match="does not answer for me/digits: .*the same command goes"):
        push()
    assert on(hub).keys() == {"README.md"} and hub.stored
    card = tmp_path / "set" / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    before = files(tmp_path / "set")

    hub.answer, hub.failing = answer, []  # type: ignore[method-assign]
    sent = hub.num_asked("/upload/")
    push()
    assert hub.num_asked("/upload/") == sent  # all images were there
    assert on(hub) == before == files(tmp_path / "set")
    assert b"license: cc-by-4.0" in on(hub)["README.md"]


def test_another_export_replaces_only_if_asked(hub: Hub, push: Push, tmp_path: Path) -> None:
    push()
    other = tmp_path / "other"
    with pytest.raises(UserError, match="push: must be a new dataset.*which has another export"):
        push(format="datasets", output=other)
    assert not other.exists()
    with pytest.raises(UserError, match="output: must be a new or empty folder"):
        push(format="datasets", overwrite=True)  # the folder has the first export
    push(format="datasets", output=other, overwrite=True)
    assert on(hub) == files(other)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "push: must be hub:NAME or hub:OWNER/NAME, got digits; write push=hub:digits"),
        ("hub:a/b/c", "push: must be hub:NAME or hub:OWNER/NAME, got hub:a/b/c; Repo id must be"),
        ("hub:-digits", "push: must be hub:NAME or hub:OWNER/NAME, got hub:-digits; "),
        ("hub:you/digits", "push: must be a dataset of me or lab, whose token this is, got you/"),
        ("hub:theirs", "push: must be a new dataset.*got me/theirs, which has other files; name"),
        ("hub:lab/open", "private: must be false for lab/open, which everybody can read, got true"),
    ],
)
def test_names_are_refused_before_the_work(
    hub: Hub, push: Push, name: str, message: str, tmp_path: Path
) -> None:
    hub.datasets |= {
        "me/theirs": Dataset(True, {"train.csv": b"1"}),
        "lab/open": Dataset(False),
    }
    with pytest.raises(UserError, match=message):
        push(name)
    assert not (tmp_path / "set").exists() and "POST /api/repos/create" not in hub.asked


def test_login_and_network_are_checked_before_the_work(
    hub: Hub, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "another"
    with pytest.raises(UserError, match="push: the hub refuses it for digits: Invalid user token"):
        push()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="push: the hub does not answer for digits: .*refused"):
        push()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="push: must reach the hub, got HF_HUB_OFFLINE=1; unset"):
        push()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="push: must be logged in to the hub, got no token; run hf"):
        push()
    with pytest.raises(UserError, match="push: must be null for format=onnx, got hub:digits"):
        push(format="onnx")
    assert not (tmp_path / "set").exists()


def test_the_cached_login_counts_and_public_is_asked_for(
    hub: Hub, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(TOKEN)
    push("hub:lab/digits", private=False)
    assert not hub.datasets["lab/digits"].private


def test_exports_of_other_images_or_options_have_other_marks(run: Path) -> None:
    kinds = [FORMATS[name](["zero"], 3, False) for name in FORMATS]
    source = Source(run, None, ["train"], "none")
    marks = [mark_for(source, kind) for kind in kinds]
    source.undecided, source.decisions = "keep", {"a": "reject"}
    marks.append(mark_for(source, kinds[0]))
    source.decisions = {"b": "reject"}
    marks.append(mark_for(source, kinds[0]))
    marks.append(mark_for(Source(run, None, ["train"], "as_used"), kinds[0]))
    assert len({*marks}) == len(marks)


def test_a_folder_takes_ten_thousand_files(hub: Hub, run: Path) -> None:
    source = Source(run, None, ["train"], "none")
    source.counts |= {("train", 0, "generated"): 6_000, ("train", 0, "real"): 4_001}
    dataset = hub_module.HubDataset("hub:me/digits", True, False)
    dataset.check(source, "mark", is_folder_of_images=False)
    with pytest.raises(UserError, match="format: must be webdataset or datasets.*10,001 images"):
        dataset.check(source, "mark", is_folder_of_images=True)
