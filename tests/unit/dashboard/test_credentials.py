"""Users, keys and shares: what is taken, what is refused, what lasts how long."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest
from dashboards import HASH, PASSWORD
from hypothesis import given
from hypothesis import strategies as st

from speedtest_logger.dashboard import keys, listed, users
from speedtest_logger.dashboard.keys import Key, Keys, Share, Shares
from speedtest_logger.dashboard.users import Hash, User, Users
from speedtest_logger.errors import ConfigError, NoAccessError, UsageError

DAY = 1_801_353_600  # 2027-01-31
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["name", "password", "id", "sha256", "scopes", "expires", "location"])


@pytest.mark.parametrize(
    "password",
    ["", "short", "elevenchars", "administrator", "Password1234", "changeme!!!!", "123456789012", "aaaaaaaaaaaaaaa",
     "qwertyuiopas", "abcdefghijkl", "speedtest2026", "nm lkj"[::-1], "x" * 1025],
)  # fmt: skip
def test_a_password_that_is_guessed_soon_is_refused(password):
    with pytest.raises(UsageError):
        users.hash_of(password)


def test_a_hash_is_of_its_password_only_and_reads_back():
    found = Hash.read(HASH)
    assert str(found) == HASH
    assert found.is_of(PASSWORD)
    assert not found.is_of(PASSWORD + " ")
    assert not found.is_of("")
    assert str(Hash.of(PASSWORD, (users.COST, users.BLOCK, 1))) != HASH  # salted


def test_letters_are_the_same_however_a_keyboard_composes_them():
    made = users.hash_of("grüne Wiese am Bach")
    assert made.is_of("gru\u0308ne Wiese am Bach")


@pytest.mark.parametrize(
    ("old", "new"),
    [("$32768$", "$16384$"), ("$32768$", "$32769$"), ("$32768$8$", "$32768$4$"), ("$8$1$", "$8$0$"),
     ("$32768$", "$1048576$"), ("$8$1$", "$8$99$"), ("$8$1$", "$8$-3$"), ("scrypt$", "bcrypt$"), ("=", "*")],
)  # fmt: skip
def test_a_hash_that_is_weak_or_too_costly_or_none_is_refused(old, new):
    assert old in HASH
    with pytest.raises(ValueError, match="password: "):
        Hash.read(HASH.replace(old, new))


def test_a_hash_with_a_short_salt_is_refused():
    with pytest.raises(ValueError, match="weak"):
        Hash.read(str(Hash(2**15, 8, 3, b"salt", b"x" * 32)))


@given(
    st.text(max_size=80) | st.lists(st.text("0123456789", max_size=12), max_size=6).map("$".join).map("scrypt$".__add__)
)
def test_any_text_is_a_hash_or_refused(text):
    try:
        Hash.read(text)
    except ValueError as error:
        assert str(error).startswith("password: ")


def test_somebody_who_does_not_exist_takes_as_long_as_who_does():
    known = Users([User.read({"name": "eva", "password": HASH})])
    took = {"eva": [], "nobody": []}
    for _ in range(5):
        for name, seconds in took.items():
            began = time.process_time()
            assert known.authenticate(name, "wrong words, all of them") is None
            seconds.append(time.process_time() - began)
    eva, nobody = (statistics.median(seconds) for seconds in took.values())
    assert 0.5 < eva / nobody < 2
    assert min(took["nobody"]) > 0.02


def test_a_user_logs_in_with_name_and_password():
    known = Users([User.read({"name": "eva", "password": HASH})])
    assert known.authenticate("eva", PASSWORD) == known.get("eva")
    assert known.authenticate("Eva", PASSWORD) is None


def test_names_and_ids_are_there_once(write, entry_of):
    with pytest.raises(ConfigError, match="the name 'eva' is there twice"):
        users.load(Path(write("u.json", [{"name": "eva", "password": HASH}] * 2)))
    entry = {name: value for name, value in entry_of("read").items() if name != "key"}
    with pytest.raises(ConfigError, match=r"the id .* is there twice"):
        keys.load(Path(write("k.json", [entry, {**entry, "name": "another"}])))
    with pytest.raises(ConfigError, match=r"the name .* is there twice"):
        keys.load(Path(write("k.json", [entry, {**entry, "id": "x" * 8}])))
    share = {"location": "home", "sha256": "0" * 64, "expires": None}
    with pytest.raises(ConfigError, match=r"the sha256 .* is there twice"):
        keys.load_shares(Path(write("s.json", [share, {**share, "location": "other"}])))


def test_every_entry_that_is_wrong_is_named_by_its_number_and_no_secret_is_repeated(write):
    good, secret = {"name": "eva", "password": HASH}, "scrypt$8$1$1$dGVsbA==$c2VjcmV0"
    file = write("u.json", [good, {"name": "", "password": HASH}, {"name": "bob", "password": secret}, 7, {}])
    with pytest.raises(ConfigError) as refused:
        users.load(Path(file))
    assert [text.split(":")[0].rpartition("entry ")[2] for text in refused.value.problems] == ["2", "3", "4", "5"]
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "{}", "7", "[" * 100_000])
def test_a_file_that_is_no_list_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    for load in (users.load, keys.load, keys.load_shares):
        with pytest.raises(ConfigError):
            load(tmp_path / "x.json")


def test_a_users_file_that_names_nobody_does_not_open_the_door(write):
    with pytest.raises(ConfigError, match="names nobody"):
        users.load(Path(write("u.json", [])))


def test_a_file_that_is_not_there_or_may_not_be_read_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="No such file"):
        users.load(tmp_path / "none.json")
    (tmp_path / "x.json").touch()

    def refuse(*_):
        raise PermissionError(13, "no", "x")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(NoAccessError, match="sudo"):
        keys.load(tmp_path / "x.json")


@given(st.sampled_from([User, Key, Share]), st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=7))
def test_any_entry_is_one_or_refused(kind, entry):
    try:
        kind.read(entry)
    except ValueError as error:
        assert str(error)


def test_a_key_has_256_random_bits_and_is_found_by_its_whole_text(entry_of):
    entry = entry_of("read", "raw")
    text = entry.pop("key")
    known = Keys([Key.read(entry)])
    assert len(text) == len("stk_") + 8 + 1 + 43
    assert known.find(text).scopes == {"read", "raw"}
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert known.find(other) is None
    assert known.find(text[:-1]) is None
    assert known.find("") is None
    assert text not in json.dumps(entry)


@given(st.text(max_size=70))
def test_no_other_text_is_a_key(text):
    assert keys.id_of(text) is None or text.startswith("stk_")
    assert Keys([]).find(text) is None
    assert Shares([]).find(text) is None


@given(st.from_regex(keys.KEY, fullmatch=True))
def test_a_key_s_id_is_in_its_text(text):
    assert text.startswith(f"stk_{keys.id_of(text)}_")


def test_a_key_works_through_its_last_day(entry_of):
    entry = entry_of("read", expires="2027-01-31")
    text = entry.pop("key")
    now = DAY + 86_399
    known = Keys([Key.read(entry)], clock=lambda: now)
    assert known.find(text)
    now += 1
    assert known.find(text) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("scopes", []), ("scopes", ["root"]), ("scopes", "read"), ("expires", "2027-02-30"), ("expires", "soon"),
     ("expires", 2027), ("sha256", "A" * 64), ("sha256", "0" * 63), ("id", "x" * 7), ("id", None), ("name", " a"),
     ("name", "a\nb")],
)  # fmt: skip
def test_a_key_s_entry_that_is_wrong_is_refused(entry_of, field, value):
    entry = {name: value for name, value in entry_of("read").items() if name != "key"}
    with pytest.raises(ValueError, match=field):
        Key.read({**entry, field: value})
    with pytest.raises(ValueError, match="no such field"):
        Key.read({**entry, "scope": "read"})


def test_a_share_is_found_while_it_lasts():
    token = keys.new_token()
    share = Share.read({"location": "home", "sha256": keys.sha256(token), "expires": "2027-01-31"})
    now = DAY
    known = Shares([share], clock=lambda: now)
    assert known.find(token).location == "home"
    assert known.find(keys.new_token()) is None
    now += 86_400
    assert known.find(token) is None


def test_the_last_day_there_is_does_no_harm():
    with pytest.raises(ValueError, match="expires"):
        listed.expiry_of("9999-12-31")
