"""`StoreSuite` must catch every broken store, by the test that is meant to, and let a sound one pass."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent

CAUGHT_BY = {
    "ForgetsToCompare": ["insert_only_where_nothing_is", "replace_only_the_expected_version",
                         "write_never_restores_what_was_removed", "different_keys_merge", "increments_add_up[threads]",
                         "logout_during_a_slow_request", "one_insert_wins[threads]", "strict", "lock_timeout",
                         "insert_never_overwrites"],
    "Resurrects": ["write_never_restores_what_was_removed", "expired_record_is_replaced_as_if_absent",
                   "purged_is_gone_for_good"],
    "EndsNothing": ["deleted_session_is_not_restored", "logout_is_final[threads]", "move_does_not_restore",
                    "logout_during_a_slow_request", "deleted_session_stays_deleted"],
    "OverwritesOnInsert": ["insert_only_where_nothing_is", "one_insert_wins[threads]"],
    "Adopts": ["unknown_id_is_never_adopted", "unknown_cookie_is_not_adopted", "load_save_delete"],
    "TearsWrites": ["data_round_trip[half MB]", "large_data"],
    "StripsData": ["data_round_trip[zero]", "data_round_trip[line ends]"],
    "NeverExpires": ["expired_record_is_absent", "expired_record_is_not_touched_back_to_life",
                     "expired_session_is_not_restored"],
    "TouchesBackwards": ["touch_never_goes_backwards[0.0]", "touch_never_goes_backwards[0.001]",
                         "touch_never_goes_backwards[100.0]"],
    "TouchRecreates": ["touch_never_creates"],
    "TouchRevives": ["expired_record_is_not_touched_back_to_life", "expired_session_is_not_restored"],
    "TouchChangesTheVersion": ["touch_moves_the_clock_only", "touch_is_no_conflict", "remove_after_touch"],
    "TouchUndoesWrites": ["touch_does_not_undo_a_write[threads]"],
    "WriteKeepsTheOldTimes": ["write_after_touch_sets_the_times_it_is_given"],
    "TouchesOnRead": ["reading_writes_next_to_nothing"],
    "RemovesUnasked": ["remove_only_the_expected_version", "stale_writer_does_not_hit_a_successor",
                       "one_of_replace_and_remove_wins[threads]"],
    "RestartsVersions": ["versions_never_come_back", "stale_writer_does_not_hit_a_successor"],
    "VersionIsOfTheContents": ["versions_never_come_back", "stale_writer_does_not_hit_a_successor"],
    "ScansTheExpired": ["expired_record_is_absent", "no_record_of_user_outlives_its_session"],
    "ScanBreaks": ["scan_tolerates_concurrent_change"],
    "ListsAfterAll": ["listing_works_or_is_refused[scan]", "listing_works_or_is_refused[sessions_of]"],
    "PurgesTheLive": ["purge_deletes_the_expired_only"],
    "PurgesOneBatch": ["purge_deletes_the_expired_only"],
    "PurgesWhatIsNew": ["purge_spares_what_is_new[threads]"],
    "TakesTurnsWrongly": ["one_cleaner_at_a_time"],
    "TouchTellsNothing": ["touch_tells_whether_a_record_stands_there"],
    "TouchTellsWhetherItMoved": ["touch_tells_whether_a_record_stands_there"],
    "PurgesWhatIsUsedMeanwhile": ["purge_spares_what_is_used_meanwhile[threads]"],
    "PurgesLocksAndTraces": ["purge_of_the_unused_spares_locks_and_traces[lock]",
                             "purge_of_the_unused_spares_locks_and_traces[moved]",
                             "purge_of_the_unused_spares_locks_and_traces[ended]"],
    "PurgesTheOldInsteadOfTheUnused": ["purge_of_the_unused", "purge_spares_what_is_used_again"],
    "NeverPurgesTheUnused": ["purge_of_the_unused", "delete_old_sessions"],
    "ThreadsMeet": ["increments_add_up[threads]", "one_insert_wins[threads]",
                    "compare_and_set_loses_nothing[threads]"],
    "IgnoresTheUser": ["records_of_user", "no_record_of_user_outlives_its_session", "revoke_user"],
    "FoldsCaseOfUsers": ["records_of_user"],
    "ForgetsToUnlistUsers": ["no_record_of_user_outlives_its_session", "sessions_of_follows_login_and_logout"],
    "LosesTheUser": ["user_round_trip[1]", "sessions_of_user", "revoke_user"],
    "CutsTheUser": ["user_round_trip[4]", "records_of_user"],
    "RoundsTimes": ["times_keep_every_digit", "session_round_trip"],
    "FoldsCaseOfKeys": ["keys_do_not_meet"],
    "LeaksLiveObjects": ["loaded_copies_are_private"],
    "KeepsIds": ["no_id_is_kept"],
    "RaisesOnDamage": ["foreign_record_is_a_missing_session[garbage]",
                       "record_cut_anywhere_is_a_missing_session[json]"],
    "SetupDrops": ["setup_never_drops_unasked"],
    "DropKeepsTheExpired": ["setup_drops_everything_when_asked"],
    "CloseIsFinal": ["closed_store_can_be_used_again"],
    "LockNeverExcludes": ["lock_timeout", "lock_excludes[threads]", "locked_requests_count[threads]"],
    "LockNeverLapses": ["lapsed_lock_is_taken_over[new holder]", "lapsed_lock_is_taken_over[stale holder]"],
    "LockIsLeftBehind": ["lock_is_released", "lock_excludes[threads]"],
    "LockOfOthersIsReleased": ["lock_released_again_is_its_next_holders"],
    "LockIsLostUntold": ["lease_can_be_renewed"],
    "LockTakeoverIsUnfenced": ["lapsed_lock_is_taken_over[stale holder]"],
    "NaiveFiles": ["increments_add_up[processes]", "compare_and_set_loses_nothing[processes]",
                   "readers_see_whole_records[processes]", "killed_in_the_middle_of_saves[killed]",
                   "hostile_key_is_refused[0]"],
    "ClaimsProcessesWrongly": ["increments_add_up[processes]", "everybody_sets_a_key[processes]",
                               "lock_excludes[processes]", "killed_in_the_middle_of_saves[killed]"],
}


# Faults that only a store which lists can have, or which only processes show.
OF_LISTING = {"ScansTheExpired", "ScanBreaks", "PurgesTheLive", "PurgesOneBatch", "IgnoresTheUser", "FoldsCaseOfUsers",
              "ForgetsToUnlistUsers", "SetupDrops", "DropKeepsTheExpired", "ListsAfterAll", "ClaimsProcessesWrongly",
              "PurgesWhatIsUsedMeanwhile", "PurgesLocksAndTraces", "PurgesTheOldInsteadOfTheUnused",
              "NeverPurgesTheUnused"}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each of the tests named above failed with, "" if it passed; all of them on the sound store too."""
    sound = {name for names in CAUGHT_BY.values() for name in names if not name.endswith(("processes]", "killed]"))}
    return run("broken_stores.py", {**CAUGHT_BY, "Sound": sorted(sound)}, tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def failures_of_the_blind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The same of stores that have the same faults and cannot list, as far as threads show them."""
    wanted = {store: [name for name in names if not name.endswith(("processes]", "killed]"))]
              for store, names in CAUGHT_BY.items() if store not in OF_LISTING}
    return run("blind_stores.py", wanted, tmp_path_factory.mktemp("blind"))


def run(stores: str, tests: dict[str, list[str]], folder: Path) -> dict[str, dict[str, str]]:
    """Run these tests of each store and return what each failed with, "" if it did not."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    wanted = [f"{HERE / stores}::Test{store}::test_{name}" for store, names in tests.items() for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-c",
               folder / "pytest.ini", f"--junitxml={folder / 'report.xml'}", f"--basetemp={folder / 'tmp'}", *wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[2])])})
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, dict[str, str]] = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        assert case.find("error") is None, ElementTree.tostring(case)
        failure = case.find("failure")
        results = found.setdefault(case.attrib["classname"].rpartition(".Test")[2], {})
        results[case.attrib["name"].removeprefix("test_")] = "" if failure is None else str(failure.text)
    return found


def test_sound_store_passes(failures):
    assert failures["Sound"]
    assert set(failures["Sound"].values()) == {""}


@pytest.mark.parametrize("store", CAUGHT_BY)
def test_broken_store_is_caught(failures, store):
    passed = {name for name, failure in failures[store].items() if not failure}
    assert set(failures[store]) == set(CAUGHT_BY[store])
    assert passed == set()


@pytest.mark.parametrize("store", [store for store in CAUGHT_BY if store not in OF_LISTING])
def test_broken_store_is_caught_without_a_list(failures_of_the_blind, store):
    assert any(failures_of_the_blind[store].values())
