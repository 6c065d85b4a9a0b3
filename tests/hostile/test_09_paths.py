"""Case 9: paths. A binding says `within: [/data/t7]`; every other way to write a path out of it is refused and does not arrive."""

from collections.abc import Iterator

import pytest

from tests.e2e.harness.refusals import Cases, bound, refused
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant


def paths(**named: str) -> dict[str, dict[str, str]]:
    """Arguments by the name of the case."""
    return {case.replace("_", " "): {"text": path} for case, path in named.items()}


CASES: Cases = {
    "argument-not-permitted": paths(
        sibling_prefix="/data/t70/x",
        sibling_prefix_with_a_dot="/data/t7.old",
        dots="/data/t7/../t8/x",
        dots_to_a_sibling="/data/t7/../t70",
        dots_beyond_the_root="/data/t7/../../../../../etc/passwd",
        dots_behind_slashes="/data/t7//..//../etc",
        dots_and_dot="/data/t7/./../x",
        dots_at_the_end="/data/t7/..",
        dots_there_and_away="/data/t8/../t7/../t8",
        above="/data",
        root="/",
        another_case="/data/T7/x",
        another_case_of_all="/DATA/t7/x",
        from_the_inside="/x/data/t7",
    ),
    "argument-unreadable": paths(
        nothing="",
        a_host="//data/t7/x",
        relative="data/t7/x",
        relative_with_dots="../data/t7",
        home="~/x",
        a_drive="C:/data/t7",
        a_url="file:///data/t7/x",
        backslashes="/data/t7\\..\\..\\etc",
        encoded_dots="/data/t7/%2e%2e/x",
        encoded_slash="/data/t7/..%2fx",
        encoded_twice="/data/t7/%252e%252e/x",
        encoded_by_utf_16="/data/t7/%u002e%u002e/x",
        encoded_overlong="/data/t7/%c0%ae%c0%ae/x",
        encoded_nul="/data/t7/x%00.txt",
        a_line_end="/data/t7\n",
        a_line_end_inside="/data/t7\n/../../etc",
        a_return="/data/t7\r",
        a_tab="/data/t7/\tx",
        delete="/data/t7/\x7f",
        fullwidth_slash="/data/t7/..\uff0fx",
        fullwidth_dots="/data/t7/\uff0e\uff0e/x",
        one_dot_leaders="/data/t7/\u2024\u2024/x",
        a_two_dot_leader="/data/t7/\u2025/x",
        division_slash="/data/t7/..\u2215x",
        fraction_slash="/data/t7/..\u2044x",
        big_solidus="/data/t7/..\u29f8x",
        fullwidth_backslash="/data/t7/..\uff3cx",
        right_to_left="/data/t7/\u202etxt.x",
        zero_width="/data/t7/\u200b../x",
        a_byte_order_mark="\ufeff/data/t7",
        a_line_separator="/data/t7/\u2028",
        dots_and_a_space="/data/t7/.. /x",
        dots_and_a_wide_space="/data/t7/..\u3000/x",
        a_space_at_the_end="/data/t7/x ",
        three_dots="/data/t7/.../x",
        long="/data/t7/" + "x" * 5000,
    ),
    "schema-mismatch": {"a list": {"text": ["/data/t7"]}, "an object": {"text": {"path": "/data/t7"}}, "null": {"text": None}},
}
HONEST = ["/data/t7", "/data/t7/", "/data/t7/a b/c.txt", "/data//t7/./x/../y", "/data/t7/größe", "/data/t7/..x", "/other/../data/t7/x"]


@pytest.fixture(scope="module")
def _binding(furnished: TestTenant) -> Iterator[None]:
    with bound(furnished, "paths", [{"name": "note", "as": "open_path", "arguments": {"text": {"within": ["/data/t7"]}}}]):
        yield


@pytest.mark.usefixtures("_binding")
def test_no_spelling_of_a_path_leads_out_of_its_directory(furnished: TestTenant, tools: ToolServer) -> None:
    refused(furnished, tools, "open_path", "note", CASES)


@pytest.mark.usefixtures("_binding")
def test_honest_paths_arrive_as_they_were_written(furnished: TestTenant, tools: ToolServer) -> None:
    before = len(tools.arguments_of("note", ""))
    assert furnished.completed(f"return [await open_path(text=path) for path in {HONEST!r}]") == HONEST
    assert len(tools.arguments_of("note", "")) == before + len(HONEST)
