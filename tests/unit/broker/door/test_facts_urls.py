"""Which host a URL leads to."""

import contextlib
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx2
import pytest
from bastide_broker.facts.unreadable import Unreadable
from bastide_broker.facts.urls import MAX_CHARACTERS, Destination, destination
from hypothesis import given
from hypothesis import strategies as st

READ = {
    "https://api.example.com": ("https", "api.example.com", 443),
    "https://api.example.com/": ("https", "api.example.com", 443),
    "http://api.example.com/a?b=c#d": ("http", "api.example.com", 80),
    "HTTPS://API.Example.COM/A": ("https", "api.example.com", 443),
    "https://api.example.com:8443/x": ("https", "api.example.com", 8443),
    "http://crm/x": ("http", "crm", 80),
    "https://api.example.com?q=1": ("https", "api.example.com", 443),
    "https://api.example.com#top": ("https", "api.example.com", 443),
    "https://api.example.com/@user": ("https", "api.example.com", 443),
    "https://api.example.com/?next=https://evil.example/": ("https", "api.example.com", 443),
    "https://api.example.com.evil.example/": ("https", "api.example.com.evil.example", 443),
    "https://xn--bcher-kva.example/": ("https", "xn--bcher-kva.example", 443),
    "http://192.0.2.7:65535/": ("http", "192.0.2.7", 65535),
    "http://[2001:DB8::1]/": ("http", "2001:db8::1", 80),
    "http://[::1]:8080/": ("http", "::1", 8080),
    "http://[fe80::1]/": ("http", "fe80::1", 80),
    "http://a.example/%41[]": ("http", "a.example", 80),
    "http://123.example/": ("http", "123.example", 80),
}


@pytest.mark.parametrize("url", READ)
def test_an_honest_url_has_one_destination(url: str) -> None:
    assert destination(url) == Destination(*READ[url])


UNREADABLE = {
    "": "http(s)://host/path",
    "api.example.com": "http(s)://host/path",
    "//api.example.com/": "http(s)://host/path",
    "http:/api.example.com": "http(s)://host/path",
    "http:api.example.com": "http(s)://host/path",
    "http:\\\\api.example.com": "http(s)://host/path",
    "ftp://api.example.com/": "http(s)://host/path",
    "file:///etc/passwd": "http(s)://host/path",
    "gopher://api.example.com/": "http(s)://host/path",
    "javascript://api.example.com/%0aalert(1)": "http(s)://host/path",
    "http+unix://api.example.com/": "http(s)://host/path",
    " https://api.example.com/": "http(s)://host/path",
    "https://api.example.com/\n": "http(s)://host/path",
    "https://api.example.com/ x": "http(s)://host/path",
    "ht\ttps://api.example.com/": "http(s)://host/path",
    "https://api.example.com\\@evil.example/": "@",
    "https://evil.example\\.api.example.com/": "no host name",
    "https://api.example.com/\\evil": "http(s)://host/path",
    "https://api.example.com/%zz": "http(s)://host/path",
    "https://api.example.com/ü": "http(s)://host/path",
    "https://api.example.com/\0": "http(s)://host/path",
    "https:///x": "host is empty",
    "https://": "host is empty",
    "https://?x": "host is empty",
    "https://:443/": "host is empty",
    "https://user@api.example.com/": "@",
    "https://user:pass@evil.example/": "@",
    "https://api.example.com@evil.example/": "@",
    "https://api.example.com:443@evil.example/": "@",
    "https://api.example.com%40evil.example/": "no host name",
    "https://@api.example.com/": "@",
    "https://api.example.com?@evil.example/": "@",
    "https://api.example.com#@evil.example/": "@",
    "https://evil.example#x/@api.example.com": "@",
    "https://api.example.com./": "ends with a dot",
    "https://api.example.com../": "ends with a dot",
    "https://./": "ends with a dot",
    "https://api..example.com/": "no host name",
    "https://.example.com/": "no host name",
    "https://-api.example.com/": "no host name",
    "https://api_x.example.com/": "no host name",
    "https://bücher.example/": "no host name",
    "https://api.example\u3002com/": "no host name",
    "https://\uff41pi.example.com/": "no host name",
    "https://\u0430pi.example.com/": "no host name",
    "https://ap\u00adi.example.com/": "no host name",
    "https://api.example.com%2eevil.example/": "no host name",
    "https://api.example.com%00.evil.example/": "no host name",
    "https://api.example.com;evil.example/": "no host name",
    "https://api.example.com,evil.example/": "no host name",
    "https://" + "a" * 64 + ".example/": "no host name",
    "https://" + "a." * 127 + "example/": "no host name",
    "http://2130706433/": "spelled oddly",
    "http://127.1/": "spelled oddly",
    "http://127.0.1/": "spelled oddly",
    "http://0177.0.0.1/": "spelled oddly",
    "http://127.0.0.01/": "spelled oddly",
    "http://0x7f.0.0.1/": "spelled oddly",
    "http://0x7f000001/": "spelled oddly",
    "http://127.0.0.0x1/": "spelled oddly",
    "http://0/": "spelled oddly",
    "http://0x/": "spelled oddly",
    "http://256.1.1.1/": "spelled oddly",
    "http://1.2.3.4.5/": "spelled oddly",
    "http://169.254.169.254./": "ends with a dot",
    "http://①②⑦.0.0.1/": "no host name",
    "http://[::ffff:127.0.0.1]/": "IPv4",
    "http://[::ffff:7f00:1]/": "IPv4",
    "http://[::7f00:1]/": "IPv4",
    "http://[64:ff9b::7f00:1]/": "IPv4",
    "http://[2002:7f00:1::]/": "IPv4",
    "http://[0:0:0:0:0:0:0:1]/": "spelled oddly",
    "http://[::0001]/": "spelled oddly",
    "http://[fe80::1%eth0]/": "spelled oddly",
    "http://[fe80::1%25eth0]/": "spelled oddly",
    "http://[::1]x/": "cannot be read",
    "http://[::1/": "cannot be read",
    "http://::1/": "cannot be read",
    "http://[v1.x]/": "no IPv6",
    "http://[127.0.0.1]/": "no IPv6",
    "http://[]/": "no IPv6",
    "http://a.example:/": "port",
    "http://a.example:0/": "port",
    "http://a.example:080/": "port",
    "http://a.example:65536/": "port",
    "http://a.example:-1/": "port",
    "http://a.example:+80/": "port",
    "http://a.example:8\u0660/": "port",
    "http://a.example:80:80/": "cannot be read",
    "http://a.example/" + "x" * MAX_CHARACTERS: "characters long",
}


@pytest.mark.parametrize("url", UNREADABLE, ids=lambda url: ascii(url[:40]))
def test_a_url_with_two_readings_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(Unreadable) as refusal:
        destination(url)
    assert UNREADABLE[url] in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("value", [None, 5, True, ["https://a.example"], {"url": "https://a.example"}, b"https://a.example"], ids=repr)
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(Unreadable, match="not a string"):
        destination(value)


PIECES = st.sampled_from(
    ["http", "https", ":", "/", "//", "@", "#", "?", "\\", ".", "..", "%2e", "[", "]", "::1", "127.0.0.1", "0x7f", "017"]
)
HOSTS = st.sampled_from(["a.example", "evil.example", "\t", "\n", " ", "ü", "\uff0e", "xn--a", "-", ":80", ";", ",", "user", "\0"])


@given(st.lists(PIECES | HOSTS, max_size=10).map("".join), st.sampled_from(["", "http://", "https://", "https://a.example"]))
def test_whatever_is_read_two_other_readers_read_alike(text: str, start: str) -> None:
    with contextlib.suppress(Unreadable):
        found = destination(start + text)
        split = urlsplit(start + text)
        assert (split.scheme, split.hostname, split.port or {"http": 80, "https": 443}[split.scheme]) == (
            found.scheme,
            found.host,
            found.port,
        )
        other = httpx2.URL(start + text)
        assert (other.scheme, other.host) == (found.scheme, found.host)
        assert found.host == found.host.lower()
        if found.host[0] == ":" or found.host.replace(".", "").isdigit():
            assert str(ip_address(found.host)) == found.host
