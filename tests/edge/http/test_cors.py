from edge.http import cors

VERBS = ("OPTIONS", "POST")


def test_t121_a_page_of_another_origin_reads_what_it_needs() -> None:
    said = cors.headers_for({"Origin": "https://a.example"}, VERBS)
    exposed = set(said["Access-Control-Expose-Headers"].split(", "))
    assert {
        *("Upload-Offset", "Location", "Upload-Length", "Tus-Version", "Tus-Resumable"),
        *("Tus-Max-Size", "Tus-Extension", "Upload-Metadata", "Upload-Defer-Length"),
        *("Upload-Concat", "Upload-Expires"),
    } <= exposed
    assert said["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Methods" not in said


def test_a_preflight_is_told_what_may_be_sent() -> None:
    asked = {"Origin": "null", "Access-Control-Request-Method": "PATCH"}
    said = cors.headers_for(asked, VERBS)
    assert said["Access-Control-Allow-Methods"] == "OPTIONS, POST"
    assert {"Authorization", "Upload-Offset", "Tus-Resumable"} <= set(
        said["Access-Control-Allow-Headers"].split(", ")
    )


def test_no_browser_is_told_nothing() -> None:
    assert cors.headers_for({}, VERBS) == {}
    assert "Access-Control-Allow-Credentials" not in cors.headers_for({"Origin": "x"}, VERBS)
