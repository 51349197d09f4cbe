"""`filter=review`: what a person rejected is not used, and bad rows are named."""

from pathlib import Path

import pytest

from sip.config.build import build
from sip.core.errors import UserError
from sip.filter.base import Verdict
from sip.filter.review import Review, read_review
from tests.composing import composed
from tests.filter.facts import Known, candidates

HEAD = "image_id,decision\n"
THREE = HEAD + "image0-0,accept\nimage1-0,reject\nother,reject\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "review.csv"
    file.write_text(THREE)
    return file


@pytest.mark.parametrize(("undecided", "third"), [("keep", None), ("drop", "not reviewed")])
def test_rejected_images_are_not_used(file: Path, undecided: str, third: str | None) -> None:
    images = candidates([0, 1, 2])
    for place in (file, file.parent):  # the file, or the folder of the run
        chosen = Review(str(place), undecided)  # type: ignore[arg-type]
        verdicts = chosen.judge(images, Known())
        assert [one.reason for one in verdicts] == [None, "rejected in review", third]
        assert verdicts[0] == Verdict()


def test_images_without_a_decision_are_kept_unless_asked(file: Path) -> None:
    chosen = build(composed("filter=review", f"filter.file={file}").filter)
    assert chosen == Review(str(file), "keep")


def test_another_decision_is_another_recipe_and_another_order_is_not(file: Path) -> None:
    def recipe(text: str, undecided: str = "keep") -> dict:
        file.write_text(text)
        return Review(str(file), undecided).recipe()  # type: ignore[arg-type]

    rows = THREE.splitlines()
    before = recipe(THREE)
    assert recipe("\n".join([rows[0], *rows[:0:-1]])) == before
    assert recipe(THREE.replace("accept", "reject")) != before
    assert recipe(THREE.replace("other", "another")) != before
    assert recipe(THREE, "drop") != before
    assert str(file) not in str(before)


def test_a_review_of_other_images_is_refused(file: Path) -> None:
    file.write_text(HEAD + "other,reject\n")
    with pytest.raises(UserError, match="filter.file: must be a review of images .* 1 decision on"):
        Review(str(file), "keep").judge(candidates([0]), Known())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "a,accept\nb,maybe\n", "row 3, column decision: must be accept or reject, got 'm"),
        (HEAD + "a,accept\n,reject\n", "row 3, column image_id: must be the id of an image, got n"),
        (HEAD + "a,accept\na,reject\n", "row 3, column image_id: must be listed once, got a again"),
        (HEAD + "a\n", "row 2, column decision: must be accept or reject, got ''; fix these rows"),
        (HEAD, "must be a review with a decision, got .* with none"),
        ("image_id,verdict\na,accept\n", "with image_id, verdict; add the column decision"),
        ("", "with no columns"),
        ('image_id,"decision\n', r"must be a CSV file in UTF-8, got .*review.csv \("),
        (None, "review.csv, which is not there; review the images"),
    ],
)
def test_bad_rows_are_named(file: Path, text: str | None, message: str) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(UserError, match=f"^filter.file: .*{message}") as error:
        Review(str(file), "keep").recipe()
    assert "\n" not in str(error.value)


def test_tables_of_spreadsheets_are_read(file: Path) -> None:
    file.write_text("decision;image_id;note\nreject; a ;blurred\n", encoding="utf-8-sig")
    assert read_review(file) == {"a": "reject"}
