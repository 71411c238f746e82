from aufer_jax.report import results


def test_a_section_is_replaced_and_others_stay(tmp_path):
    file = tmp_path / "folder" / "numbers.md"
    results.write_section(file, "First", [{"a": 1, "b": 0.12345}], "run one", "A note.")
    results.write_section(file, "Second", [{"c": "x"}], "run two")
    results.write_section(file, "First", [{"a": 2, "b": 3.0}], "run one", "A note.")
    text = file.read_text()
    assert text.count("## First\n") == text.count("## Second\n") == 1
    assert "| 1 |" not in text and "| a | b |\n| --- | --- |\n| 2 | 3 |" in text
    assert "| x |" in text and "`run two`" in text and "commit" in text
    assert text.startswith("# Numbers\n")
    assert results.read_table(file, "First") == [{"a": "2", "b": "3"}]
    assert results.read_table(file, "Second") == [{"c": "x"}]
