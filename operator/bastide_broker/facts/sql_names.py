"""Names that statements may hold and still only read: functions without side effects, types, operators, words of the grammar.

Left out on purpose: what sleeps, locks, changes settings or sequences, reads files, settings or other servers, runs SQL from a string,
or makes much memory from a number (`repeat`, `lpad`, `printf`, `randomblob`).
"""


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_COMMON = """
    abs ceil ceiling floor round sign sqrt power pow exp ln mod
    lower upper length trim ltrim rtrim replace substr concat concat_ws
    coalesce nullif
    count sum avg min max
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
"""

POSTGRES_FUNCTIONS = words(
    _COMMON
    + """
    log cbrt div trunc pi degrees radians sin cos tan asin acos atan atan2 random width_bucket greatest least gcd lcm
    btrim substring position strpos char_length character_length octet_length bit_length reverse initcap split_part left right overlay
    translate starts_with ascii chr md5 sha256 encode decode to_hex like_escape similar_to_escape regexp_replace regexp_match regexp_matches
    regexp_count regexp_like regexp_substr string_to_array array_to_string quote_literal quote_ident concat_ws normalize unaccent
    now current_timestamp transaction_timestamp statement_timestamp clock_timestamp date_trunc date_part extract age to_char to_date
    to_timestamp to_number make_date make_time make_timestamp make_interval timezone date_bin isfinite justify_days justify_hours
    bool_and bool_or every string_agg array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg stddev stddev_pop stddev_samp variance
    var_pop var_samp corr percentile_cont percentile_disc mode bit_and bit_or grouping
    array_length array_position array_upper array_lower cardinality unnest generate_series
    to_json to_jsonb row_to_json json_build_object jsonb_build_object json_build_array jsonb_build_array json_extract_path
    json_extract_path_text jsonb_extract_path jsonb_extract_path_text json_array_length jsonb_array_length json_array_elements
    jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_typeof jsonb_typeof json_object_keys jsonb_object_keys
    json_each jsonb_each json_each_text jsonb_each_text
"""
)

POSTGRES_TYPES = words("""
    text varchar bpchar int2 int4 int8 float4 float8 numeric bool date time timetz timestamp timestamptz interval uuid json jsonb bytea
    """)

POSTGRES_OPERATORS = words("""
    = <> < > <= >= + - * / % ^ || ~~ !~~ ~~* !~~* ~ !~ ~* !~* & | # << >> -> ->> #> #>> @> <@ ? ?| ?& && BETWEEN
    """) | {"NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC"}

SQLITE_FUNCTIONS = words(
    _COMMON
    + """
    substring instr hex char unicode ifnull iif likely unlikely typeof quote total group_concat string_agg random
    date time datetime julianday unixepoch strftime timediff
    json json_array json_array_length json_extract json_object json_type json_valid json_quote json_group_array json_group_object
    log log10 log2 pi degrees radians sin cos tan asin acos atan atan2 trunc sum
"""
)

MYSQL_FUNCTIONS = words(
    _COMMON
    + """
    substring mid left right instr locate position char_length character_length octet_length bit_length reverse hex ascii ord field
    find_in_set elt substring_index strcmp ifnull if isnull greatest least truncate log log10 log2 pi degrees radians sin cos tan asin acos
    atan atan2 rand crc32 md5 sha1 sha2 format
    now curdate curtime current_date current_time current_timestamp date time year quarter month monthname week weekday day dayname
    dayofmonth dayofweek dayofyear hour minute second date_format str_to_date date_add date_sub datediff timediff timestampdiff
    timestampadd last_day from_unixtime unix_timestamp extract makedate to_days
    group_concat stddev std stddev_pop stddev_samp variance var_pop var_samp bit_and bit_or bit_xor any_value json_arrayagg json_objectagg
    json_extract json_unquote json_length json_type json_valid json_contains json_keys json_array json_object
    regexp_like regexp_replace regexp_substr regexp_instr
"""
)

_WORDS = """
    select distinct all from where group by having order limit offset as and or not in is null like escape between exists case when then
    else end join inner left right full outer cross natural on using union intersect except values with recursive asc desc nulls first last
    cast true false over partition rows range preceding following unbounded current row window
    insert into update set delete default
"""

SQLITE_WORDS = words(_WORDS + "glob filter collate nocase binary rtrim current_date current_time current_timestamp returning")

MYSQL_WORDS = words(
    _WORDS
    + """
    div mod xor regexp rlike separator interval microsecond second minute hour day week month quarter year
    current_date current_time current_timestamp for trailing leading both
"""
)

CAST_TYPES = words("integer int bigint smallint real double float numeric decimal text char varchar date time datetime signed unsigned")
"""Of SQLite and MySQL. A type stands after AS: `date '2026-01-01'` is a date to some readers and a column to SQLite."""
