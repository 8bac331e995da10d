from __future__ import annotations

import json
import re

import pytest

from stgvcodec.report.inspection_page import inspection_page


def data_of(page):
    found = re.search(r'<script type="application/json" id="inspection">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def test_a_page_is_one_file_without_references():
    page = inspection_page({"gops": []})
    assert page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|src=\"", page)
    assert not re.search(r"/\* (style|script|data) \*/", page)


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "/* script */", "a\u2028b", "\\"]
)
def test_texts_of_a_file_stay_texts(name):
    page = inspection_page({"file": {"name": name}})
    assert data_of(page) == {"file": {"name": name}}
    assert page.count("<script") == inspection_page({}).count("<script") == 2


def test_numbers_that_json_cannot_say_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        inspection_page({"psnr": float("nan")})
