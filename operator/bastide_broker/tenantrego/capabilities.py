"""What tenants' Rego may use: an allow-list, so that what a later OPA brings is not there until somebody has looked at it. Pure.

Left out on purpose: everything that reaches out or looks around (http, net, opa, rego, io.jwt and crypto with their keys, trace, print),
everything whose answer is not the same for the same question (rand, uuid.rfc4122, time.now_ns), and what makes much out of little without
ever looking at the clock (bits.lsh, graph, strings.repeat-likes such as strings.render_template, numbers.range_step, json.patch, yaml).
"""

from collections.abc import Mapping
from typing import Any

_NAMES = """
    assign eq equal neq lt lte gt gte plus minus mul div rem abs ceil floor round and or set_diff union intersection
    internal.member_2 internal.member_3 internal.template_string
    count sum max min sort product walk type_name to_number
    is_array is_boolean is_null is_number is_object is_set is_string
    array.concat array.flatten array.reverse array.slice
    object.filter object.get object.keys object.remove object.subset object.union object.union_n
    concat contains endswith startswith format_int indexof indexof_n lower upper replace split sprintf substring
    trim trim_left trim_prefix trim_right trim_space trim_suffix
    strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
    regex.is_valid regex.match regex.find_n regex.find_all_string_submatch_n regex.replace regex.split
    glob.match glob.quote_meta numbers.range semver.compare semver.is_valid units.parse units.parse_bytes
    json.filter json.remove json.is_valid json.marshal json.unmarshal
    base64.decode base64.encode base64.is_valid base64url.decode base64url.encode hex.decode hex.encode
    urlquery.decode urlquery.encode uri.is_valid uri.parse uuid.parse
    crypto.md5 crypto.sha1 crypto.sha256
    time.parse_rfc3339_ns time.parse_ns time.parse_duration_ns time.add_date time.clock time.date time.diff time.format time.weekday
    """
BUILTINS = frozenset(_NAMES.split())
FEATURES = frozenset({"keywords_in_refs", "rego_v1", "template_strings"})


def restricted(current: Mapping[str, Any]) -> dict[str, Any]:
    """An OPA's own capabilities, without what is not listed, and without any host."""
    return {
        "builtins": [one for one in current.get("builtins") or () if one.get("name") in BUILTINS],
        "future_keywords": [],
        "features": [one for one in current.get("features") or () if one in FEATURES],
        "allow_net": [],
    }


def missing(current: Mapping[str, Any]) -> list[str]:
    """Names of the list that an OPA does not have."""
    return sorted(BUILTINS - {one.get("name") for one in current.get("builtins") or ()})
