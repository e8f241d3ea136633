"""What people report of runs that were resumed, each with the test against it.

A row a complaint: where it was made, and the test by name. Most were made many times;
one or two places stand for all.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

COMPLAINTS = {
    "patience starts anew after a resume": (
        "Lightning#1463, transformers#28544",
        "host/test_resume.py::test_wherever_it_is_cut_rates_counts_and_moments_go_on",
    ),
    "the restored stop is one evaluation behind": (
        "Lightning#1464",
        "host/test_resume.py::test_an_evaluation_that_no_step_has_seen_yet_counts_once",
    ),
    "a plateau forgets its cuts and its cooldown": (
        "timm#871, fairseq PR#4071, mmdetection#6572",
        "laws/test_laws.py::test_law",
    ),
    "the learning rate is another one after a resume": (
        "pytorch#119168, transformers#27749, mmengine#1542",
        "host/test_resume.py::test_wherever_it_is_cut_rates_counts_and_moments_go_on",
    ),
    "restarts of a schedule come at another step": (
        "pytorch#88791",
        "schedules/test_stories.py::test_restarts_begin_where_integers_say",
    ),
    "the step of a schedule cannot be found to go on from": (
        "optax#1036, optax#415",
        "views/test_read.py::test_a_reading_is_plain_python",
    ),
    "a second, longer run leaves its one-cycle schedule": (
        "flair#2954, insightface PR#2143",
        "schedules/test_stories.py::test_a_longer_second_run_does_not_break_a_one_cycle",
    ),
    "the old patience comes back with the state": (
        "Lightning: arguments in `state_dict`",
        "host/test_by_name.py::test_another_patience_keeps_the_count_and_is_said",
    ),
    "state leaks into the next fit": (
        "keras#20256, xgboost#9117",
        "host/test_resume.py::test_a_new_start_remembers_nothing",
    ),
    "the best weights come back only if the stop fired": (
        "keras#12511, tensorflow#35634, Lightning#1415",
        "stop/test_early_stopping.py"
        "::test_the_best_parameters_come_back_whether_or_not_it_stopped",
    ),
    "a NaN is taken for the best": (
        "early-stopping-pytorch#16",
        "core/test_keeping.py::test_it_keeps_the_first_of_the_best_finite_values",
    ),
    "a NaN metric deletes the best checkpoint": (
        "Orbax: BestN",
        "host/test_by_name.py::test_the_best_and_the_latest_are_kept",
    ),
    "keeping the best deletes the newest": (
        "orbax#526, flowgym#51",
        "host/test_by_name.py::test_the_best_and_the_latest_are_kept",
    ),
    "a dtype is cast in silence": (
        "orbax#2972, asi#2714",
        "host/test_checkpoint.py::test_a_misfit_names_the_path_and_both_sides",
    ),
    "a part of the state is restored and the rest is not": (
        "orbax#2972, orbax#1904",
        "host/test_checkpoint.py::test_a_misfit_names_the_path_and_both_sides",
    ),
    "tuples come back as lists": (
        "ferminet PR#105",
        "host/test_resume.py::test_containers_come_back_as_what_they_were",
    ),
    "whole-number keys come back as strings": (
        "orbax#2561",
        "host/test_resume.py::test_containers_come_back_as_what_they_were",
    ),
    "an older checkpoint cannot be restored into a state that has grown": (
        "orbax#487, orbax#2692",
        "host/test_by_name.py::test_a_controller_more_starts_anew_and_the_others_go_on",
    ),
    "a renamed part is lost": (
        "orbax#2692, keras#22985",
        "host/test_by_name.py::test_a_renamed_controller_is_found_by_its_old_name",
    ),
    "two controllers of equal size change places": (
        "a packed state has no names",
        "views/test_read.py::test_a_state_of_other_controllers_is_refused",
    ),
    "an nnx.Optimizer cannot be checkpointed": (
        "flax#4423",
        "frontends/test_nnx.py::test_all_that_objects_hold_comes_back_into_new_ones",
    ),
    "a resumed step is compiled a second time": (
        "optax#1440",
        "host/test_resume.py::test_wherever_it_is_cut_rates_counts_and_moments_go_on",
    ),
    "the epoch starts anew in the middle of the data": (
        "transformers: resume in mid-epoch",
        "host/test_interrupt.py"
        "::test_a_run_that_was_interrupted_ends_as_if_it_had_not_been",
    ),
    "the data iterator starts anew": (
        "Grain's state beside the model's",
        "host/test_iterators.py::test_the_next_element_follows_in_a_new_iterator",
    ),
    "a signal kills the run without a checkpoint": (
        "Orbax without jax.distributed",
        "host/test_interrupt.py"
        "::test_a_process_told_to_leave_ends_well_and_at_once_if_told_twice",
    ),
    "a kill during a save breaks the run": (
        "Lightning, Orbax: half-written directories",
        "chaos/test_chaos.py::test_a_run_that_is_killed_ends_as_one_that_was_not",
    ),
    "a damaged checkpoint is restored in silence": (
        "Orbax: a flipped bit in array data",
        "host/test_damage.py"
        "::test_a_flipped_bit_in_any_file_leads_to_the_checkpoint_before",
    ),
    "a full disk takes the run and its checkpoints": (
        "Orbax: an error without a path",
        "host/test_damage.py::test_a_full_disk_is_an_error_that_says_where",
    ),
    "another number of devices cannot restore it": (
        "orbax#648",
        "scale/test_meshes.py::test_eight_devices_four_one_and_eight_again_bit_for_bit",
    ),
    "another number of processes cannot restore it": (
        "orbax#648",
        "scale/test_processes.py"
        "::test_a_checkpoint_of_two_processes_is_read_by_two_and_by_one",
    ),
    "a plateau counts an evaluation once for every process": (
        "accelerate#3797",
        "scale/test_processes.py"
        "::test_a_metric_of_both_processes_counts_once_an_evaluation",
    ),
    "processes disagree on when to stop, and hang": (
        "Lightning#379, #3381, #15252",
        "scale/test_processes.py::test_every_process_decides_the_same_and_compiles_once",
    ),
    "processes are preempted at different steps": (
        "orbax#3406",
        "scale/test_processes.py::test_a_signal_to_one_makes_all_leave_at_one_step",
    ),
    "patience is counted in validations when the run has steps": (
        "keras#13239, fairseq#2080",
        "views/test_observe.py"
        "::test_an_evaluation_counts_once_however_many_steps_follow",
    ),
    "an early verdict is remembered through the minimum of epochs": (
        "Lightning#19966",
        "stop/test_logic.py::test_a_minimum_of_updates_does_not_latch_an_early_verdict",
    ),
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_a_complaint_has_its_test(complaint: str) -> None:
    _, test = COMPLAINTS[complaint]
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
