"""What a new user once stumbled over, and the test that holds each of it."""

import ast

import places
import pytest

# What it was -> the tests by which it stays gone.
GONE = {
    "1 explain crashed on every run of MV-FER": (
        "explain/test_explain.py::test_two_runs_are_explained",
    ),
    "2 what convert writes could not be used, and it said nothing and overwrote": (
        "weights/test_weights.py::test_converted_weights_start_a_run",
        "weights/test_weights.py::test_convert_and_load_again",
    ),
    "3 CTRL-C lost everything, SIGTERM was late, a workdir without checkpoint blocked others": (
        "train/test_signals.py::test_ctrl_c_writes_a_checkpoint_and_the_run_goes_on",
        "train/test_signals.py::test_before_the_first_step_the_run_ends_at_once",
        "train/test_workdir.py::test_a_run_that_saved_nothing_blocks_no_other",
    ),
    "4 the bar misled, and nothing told the time left": (
        "train/test_signals.py::test_the_time_left",
    ),
    "5 the command for own faces suited no CPU, and quick took ten minutes": (
        "papers/test_own.py::test_few_records_have_small_steps_and_many_epochs",
        "papers/test_own.py::test_faces_with_black_around_them_go_on_as_their_edge",
        "train/test_quick.py::test_large_networks_have_small_steps",
    ),
    "6 no new photograph could be predicted, no other set evaluated, no predictions were kept": (
        "runs/test_predict.py::test_the_command_writes_tables_and_drawings",
        "runs/test_conclusion.py::test_another_dataset_is_evaluated_by_the_names_of_its_classes",
        "runs/test_conclusion.py::test_a_run_is_compared_with_simple_guesses",
    ),
    "7 mistakes ended in tracebacks": (
        "cli/test_mistakes.py::test_training",
        "cli/test_mistakes.py::test_other_verbs",
        "cli/test_mistakes.py::test_a_process_says_one_line_and_ends_with_2",
    ),
    "8 without landmarks MV-FER went without its heatmap view, and said so after training": (
        "papers/test_own.py::test_faces_with_black_around_them_go_on_as_their_edge",
        "datasets/test_judge.py::test_other_findings",
    ),
    "9 nothing warned about the data": (
        "datasets/test_judge.py::test_one_class",
        "datasets/test_judge.py::test_classes_too_few_or_not_measured",
        "datasets/test_judge.py::test_what_guessing_reaches",
        "papers/test_own.py::test_uneven_classes_are_drawn_and_judged_alike",
        "runs/test_conclusion.py::test_better_means_more_than_chance",
    ),
    "10 photographs never became AUs, align drew no sheet and took no single file": (
        "faces/test_detect.py::test_a_folder_is_aligned_and_then_prepared",
        "faces/test_detect.py::test_supposed_points_are_not_written_as_landmarks",
    ),
    "11 the documented command for clips failed without AUs": (
        "papers/test_own.py::test_an_au_head_only_where_aus_are_known",
    ),
    "12 a mistyped key was answered with all keys": (
        "explain/test_explain.py::test_mistakes_are_named",
        "cli/test_mistakes.py::test_other_verbs",
    ),
    "13 only English expression words were known": (
        "datasets/test_labels.py::test_labels_that_are_no_expressions_are_answered_with_the_command_that_helps",
        "datasets/test_labels.py::test_labels_are_renamed_and_left_out",
        "datasets/test_labels.py::test_every_label_can_be_a_class",
    ),
    "14 warnings of libraries, bars in log files": (
        "test_main.py::test_trains_evaluates_and_finds_its_own_work",
    ),
    "15 overrides were not in the workdir's name, a refusal named one key only": (
        "train/test_workdir.py::test_the_default_folder_is_named_by_the_overrides",
        "train/test_workdir.py::test_every_key_that_differs_is_named",
    ),
    "16 no --version, configs found in one folder only, a typo in quick": (
        "cli/test_verbs.py::test_version",
        "test_package.py::test_a_wheel_trains_without_a_checkout",
        "train/test_config.py::test_wrong_arguments_are_named",
    ),
    "16 a wrong data.dir, a missing init_from": (
        "datasets/test_removal.py::test_a_wrong_data_dir_is_named",
        "cli/test_mistakes.py::test_training",
    ),
    "16 a checkpoint of another network took half a minute": (
        "weights/test_weights.py::test_a_checkpoint_of_another_network_names_the_closest",
    ),
    "16 tables in UTF-16": (
        "faults/test_sources.py::test_tables_in_any_encoding_and_with_any_line_ends",
    ),
    "16 bias without AUs, t-SNE of few samples, curves in the current folder": (
        "bias/test_bias.py::test_datasets_without_aus_are_named",
        "explain/test_embed.py::test_few_samples_have_a_perplexity_that_fits",
        "cli/test_verbs.py::test_curves_are_drawn_in_the_first_runs_folder",
    ),
    "16 no command removed a dataset, a closed pipe was a traceback": (
        "datasets/test_removal.py::test_a_prepared_dataset_is_removed_and_its_source_stays",
        "cli/test_verbs.py::test_a_closed_pipe_is_no_mistake",
    ),
    "16 the notebook stopped, and was wrong on most faces": ("test_launch.py::test_notebook_runs",),
    "16 a network took raw pixels and said nothing": (
        "models/test_layers.py::test_raw_pixels_are_refused",
    ),
    "16 no index of the documents, no Python in the README": (
        "test_docs.py::test_the_index_names_every_page",
        "test_docs.py::test_python_examples_compile_and_import_what_there_is",
    ),
}


@pytest.mark.parametrize("point", GONE)
def test_every_point_is_held_by_tests_that_exist(point):
    for place in GONE[point]:
        file, _, name = place.partition("::")
        tree = ast.parse((places.TESTS / file).read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in found, f"{place} is not there"


def test_all_points_are_there():
    assert {int(point.split()[0]) for point in GONE} == set(range(1, 17))
