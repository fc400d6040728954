"""The page about a cohort."""

from html.parser import HTMLParser

import pytest

from trxlib.pages.page import render_page

COLUMNS = ("streamlines", "vertices", "length_mean_mm", "length_sd_mm", "length_min_mm", "length_max_mm", "volume_mm3")


def rows_of(counts):
    return [
        {
            "subject": subject,
            "group": group,
            **dict.fromkeys(COLUMNS, "1234.5678"),
            "streamlines": str(n),
            "vertices": "7",
        }
        for (subject, group), n in counts.items()
    ]


class Reader(HTMLParser):
    """Collects the cells of all tables and the links."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.text, self.open = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.open = True
            self.rows[-1].append("")
        self.links += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open = False

    def handle_data(self, data):
        self.text += data
        if self.open:
            self.rows[-1][-1] += data


def test_page_shows_subjects_groups_and_links():
    counts = {("sub-01", "all"): 3000, ("sub-01", "CC"): 1000, ("all", "all"): 3000, ("all", "CC"): 1000}
    page = Reader(render_page("demo", rows_of(counts), 2))
    assert page.rows[1] == ["sub-01", "3,000", "7", "1234.6", "1234.6", "1234.6", "1234.6", "1.2"]
    assert page.rows[-2:] == [["sub-01", "1,000"], ["all", "1,000"]]
    assert {"demo.trx", "mosaic.png", "summary.tsv", "provenance.tsv"} <= set(page.links)
    assert not [link for link in page.links if "//" in link]
    assert "subjects" in page.text


@pytest.mark.parametrize("missing", ["n/a"])
def test_a_cohort_without_streamlines_or_groups(missing):
    rows = rows_of({("sub-01", "all"): 0, ("all", "all"): 0})
    for row in rows:
        row.update(length_mean_mm=missing, length_sd_mm=missing, volume_mm3="0.000")
    page = Reader(render_page("empty", rows, 1))
    assert page.rows[-1][:4] == ["all", "0", "7", "n/a"]
    assert "per group" not in page.text


def test_names_are_escaped():
    rows = rows_of({("sub-01", "all"): 1, ("sub-01", "<b>"): 1, ("all", "all"): 1, ("all", "<b>"): 1})
    text = render_page("demo", rows, 1)
    assert "&lt;b&gt;" in text
    assert "<b></th>" not in text


def test_people_and_their_sessions_are_counted_apart():
    names = ("sub-01_ses-1", "sub-01_ses-2", "sub-02", "all")
    rows = rows_of({(name, "all"): 1 for name in names})
    text = render_page("demo", rows, 3, 2)
    assert "<b>2</b><span>subjects</span>" in text
    assert "<b>3</b><span>sessions</span>" in text
    assert "sessions" not in render_page("demo", rows, 3, 3)
