"""The configuration: which layer wins, what is refused, and in what words."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pneumonia.config import sources
from pneumonia.config.resolve import is_phantom, resolve
from pneumonia.config.schema import PROFILES, Config, TrainConfig
from pneumonia.config.section import Section
from pneumonia.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(profile: str = "fast", *assignments: str, **environment: str) -> Config:
    return resolve(profile, assignments=assignments, environment=environment)


def fields(model: type[BaseModel] = Config, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field that is no section, by its dotted path."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields(field.annotation, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


# ---- profiles


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("root", ["phantom", "images"])
def test_profiles_resolve_and_nothing_is_left_to_decide(folder: Path, profile: str, root: str) -> None:
    config = make(profile, f"data.root={root}")
    assert config.profile == profile
    assert config.data.root == root
    assert config.model.weights == ("none" if root == "phantom" else "imagenet")


def test_fast_is_the_documented_demo(folder: Path) -> None:
    config = make("fast", "data.root=images")
    assert config.data.patient_fraction == 0.1
    train = config.train
    assert (train.epochs, train.optimizer, train.learning_rate, train.batch_size) == (1, "adam", 0.001, 64)
    assert config.preprocess.size == 224
    assert config.augment.flip > 0
    assert config.augment.rotation > 0


def test_full_takes_everything(folder: Path) -> None:
    config = make("full", "data.root=images")
    assert config.data.patient_fraction == 1
    train = config.train
    assert 10 <= train.epochs <= 20
    assert (train.optimizer, train.schedule) == ("adamw", "cosine")
    assert train.warmup_epochs > 0
    assert train.class_weights
    assert train.label_smoothing > 0
    assert train.ema_decay > 0
    assert train.patience > 0


def test_the_profiles_can_never_be_mistaken_for_one_another(folder: Path) -> None:
    names = [make(profile, f"data.root={root}").registry.name for root in ("images", "phantom") for profile in PROFILES]
    assert names == [
        "pneumonia-resnet18-fast",
        "pneumonia-resnet18",
        "pneumonia-resnet18-phantom",
        "pneumonia-resnet18-phantom",
    ]


def test_auto_takes_images_where_they_lie_and_phantoms_elsewhere(folder: Path) -> None:
    assert make().data.root == "phantom"
    (folder / "data" / "chest_xray").mkdir(parents=True)
    assert make().data.root == str(Path("data/chest_xray"))


def test_a_folder_of_phantoms_is_known_by_its_signature(folder: Path) -> None:
    (folder / "some" / "chest_xray").mkdir(parents=True)
    assert not is_phantom("some")
    (folder / "some" / "chest_xray" / "phantom.json").write_text("{}")
    for root in ("some", "some/chest_xray", "phantom"):
        assert is_phantom(root)
        assert make("full", f"data.root={root}").registry.name == "pneumonia-resnet18-phantom"


# ---- precedence


def test_each_layer_beats_the_one_before(folder: Path) -> None:
    file = folder / "mine.toml"
    file.write_text('[data]\nroot = "phantom"\n[train]\nepochs = 31\npatience = 31\n')
    default = TrainConfig().epochs

    def epochs(profile: str, **layers: object) -> int:
        return resolve(profile, **({"environment": {}} | layers)).train.epochs  # type: ignore[arg-type]

    profile = resolve("full", assignments=["data.root=images"], environment={}).train.epochs
    phantom = resolve("full", assignments=["data.root=phantom"], environment={}).train.epochs
    environment = {"PNEUMONIA_TRAIN__EPOCHS": "32"}
    found = [
        default,
        profile,
        phantom,
        epochs("full", file=file),
        epochs("full", file=file, environment=environment),
        epochs("full", file=file, environment=environment, assignments=["train.epochs=33"]),
        epochs("full", file=file, environment=environment, assignments=["train.epochs=33", "train.epochs=34"]),
    ]
    assert found[3:] == [31, 32, 33, 34]
    assert all(before != after for before, after in itertools.pairwise(found))
    assert resolve("full", file=file, environment=environment).train.patience == 31, "layers merge key by key"


def test_the_process_environment_is_read_unless_another_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMONIA_TRAIN__SEED", "7")
    assert resolve().train.seed == 7
    assert resolve(environment={}).train.seed == 0


def test_the_test_suites_own_variables_are_not_configuration(folder: Path) -> None:
    assert make(PNEUMONIA_TEST_SHARED="/somewhere") == make()


@pytest.mark.parametrize(
    ("assignment", "value"),
    [("train.class_weights=true", True), ("train.class_weights = false", False), ("train.class_weights=1", True)],
)
def test_words_become_truth_values(folder: Path, assignment: str, value: bool) -> None:
    assert make("fast", assignment).train.class_weights is value


def test_a_value_may_hold_an_equals_sign(folder: Path) -> None:
    uri = "postgresql://host/db?sslmode=require"
    assert make("fast", f"tracking.uri={uri}").tracking.uri == uri


# ---- refusals


def refusal(profile: str = "fast", *assignments: str, file: Path | None = None, **environment: str) -> str:
    with pytest.raises(ConfigError) as failure:
        resolve(profile, file=file, assignments=assignments, environment=environment)
    assert failure.value.exit_code == 2
    return str(failure.value)


def test_an_unknown_profile_names_the_known(folder: Path) -> None:
    assert refusal("medium") == "profile: 'medium' is unknown; choose one of fast, full"


def test_a_profile_is_chosen_and_not_set(folder: Path) -> None:
    (folder / "mine.toml").write_text('profile = "full"\n')
    for message in (
        refusal("fast", "profile=full"),
        refusal("fast", PNEUMONIA_PROFILE="full"),
        refusal("fast", file=folder / "mine.toml"),
    ):
        assert re.search(r"profile \(from .+\): .*--profile full", message)
    assert make("full", "profile=full").profile == "full", "a resolved tree may be read again"


def test_an_unknown_key_names_its_origin_and_the_known_ones(folder: Path) -> None:
    (folder / "mine.toml").write_text("[train]\nepoch = 3\n")
    for message, origin in (
        (refusal("fast", "train.epoch=3"), "--set"),
        (refusal("fast", file=folder / "mine.toml"), str(folder / "mine.toml")),
    ):
        assert f"train.epoch (from {origin}): unknown key; did you mean epochs? known here: batch_size, " in message
        assert "epochs" in message


@pytest.mark.parametrize(("key", "meant"), [("trian.epochs", "did you mean train? "), ("nonsense", "")])
def test_an_unknown_section_names_the_known_ones(folder: Path, key: str, meant: str) -> None:
    section = key.partition(".")[0]
    message = refusal("fast", f"{key}=3")
    assert f"{section} (from --set): unknown key; {meant}known here: augment, data, " in message


@pytest.mark.parametrize(
    "assignment",
    [
        "train.epochs=0",
        "train.epochs=two",
        "train.epochs=1.5",
        "train.batch_size=1",
        "train.learning_rate=0",
        "train.learning_rate=nan",
        "train.learning_rate=inf",
        "train.optimizer=sgd",
        "train.seed=-1",
        "data.validation_fraction=0",
        "data.validation_fraction=1",
        "data.patient_fraction=1.01",
        "data.on_unreadable=ignore",
        "augment.flip=1.2",
        "augment.rotation=181",
        "preprocess.size=31",
        "operating_point.threshold=-0.1",
        "evaluation.confidence=0.5",
        "gate.min_auroc=96",
        "model.architecture=resnet50",
        "registry.name=../escape",
        "train=3",
        "train.epochs.more=3",
    ],
)
def test_a_value_out_of_range_names_key_origin_and_value(folder: Path, assignment: str) -> None:
    key, _, value = assignment.partition("=")
    message = refusal("fast", assignment)
    named = "train.epochs" if key == "train.epochs.more" else key
    assert f"{named} (from --set): " in message
    assert value in message


def test_all_that_is_wrong_is_told_at_once(folder: Path) -> None:
    message = refusal("fast", "train.epochs=0", "augment.flip=2", "nonsense=1")
    assert all(key in message for key in ("train.epochs", "augment.flip", "nonsense"))


@pytest.mark.parametrize("assignment", ["train.epochs", "=3", " =3", ""])
def test_an_assignment_without_key_or_value_shows_how(folder: Path, assignment: str) -> None:
    assert "write it as section.key=value, for example train.epochs=3" in refusal("fast", assignment)


def test_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    assert "none.toml: cannot be read (No such file or directory)" in refusal(file=folder / "none.toml")
    (folder / "bad.toml").write_text("[train\nepochs = 1")
    assert "bad.toml: is not valid TOML" in refusal(file=folder / "bad.toml")
    (folder / "folder.toml").mkdir()
    assert "folder.toml: cannot be read (Is a directory)" in refusal(file=folder / "folder.toml")


@pytest.mark.parametrize("content", [b"# R\xf6ntgen\n[train]\n", b"\xff\xfe\x00", b"[train]\nseed = '\xc3'\n"])
def test_a_file_that_is_no_text_is_told(folder: Path, content: bytes) -> None:
    (folder / "bad.toml").write_bytes(content)
    assert re.search(r"bad.toml: is not text in UTF-8 \(line \d\); save it as UTF-8", refusal(file=folder / "bad.toml"))


@pytest.mark.parametrize(
    "text", ["epochs = 3\nepochs = 4", "epochs = 3\n[train]\nseed = 1", "epochs.a = 1\nepochs.a = 2"]
)
def test_what_a_file_holds_twice_is_told(folder: Path, text: str) -> None:
    (folder / "twice.toml").write_text(f"[train]\n{text}\n")
    message = refusal(file=folder / "twice.toml")
    assert re.search(
        r"twice.toml: is not valid TOML \(a key or a section is there twice, at line 3, .*keep one", message
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_may_begin_with_a_mark_of_its_encoding(folder: Path, encoding: str) -> None:
    text = "[train]\r\nepochs = 31 # R\u00f6ntgen\r\n"
    mark = "\ufeff" if encoding.endswith("e") else ""
    (folder / "mine.toml").write_bytes((mark + text).encode(encoding))
    assert resolve("fast", file=folder / "mine.toml", environment={}).train.epochs == 31


# ---- variables that are no settings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PNEUMONIA_TRAIN__EPOCH", "; did you mean PNEUMONIA_TRAIN__EPOCHS?"),
        ("PNEUMONIA_TRAIN_EPOCHS", "; did you mean PNEUMONIA_TRAIN__EPOCHS?"),
        ("PNEUMONIA_TRIAN__EPOCHS", "; did you mean PNEUMONIA_TRAIN__EPOCHS?"),
        ("PNEUMONIA_WROK", "; did you mean PNEUMONIA_WORK?"),
        ("PNEUMONIA_TRAIN__EPOCHS__MORE", "; did you mean PNEUMONIA_TRAIN__EPOCHS?"),
        ("PNEUMONIA_ZZZ", ""),
        ("PNEUMONIA_", ""),
    ],
)
def test_an_unknown_variable_is_a_warning_with_the_nearest(
    name: str, meant: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources._warn_once.cache_clear()
    for _ in range(2):
        assert make(**{name: "3"}) == make()
    assert caplog.messages == [f"warning: {name} names no setting, and is ignored{meant}"]


@pytest.mark.parametrize(
    "name",
    [
        "PNEUMONIA_PORT", "PNEUMONIA_SERVICE_HOST", "PNEUMONIA_SERVICE_PORT", "PNEUMONIA_SERVICE_PORT_HTTP",
        "PNEUMONIA_PORT_80_TCP", "PNEUMONIA_PORT_80_TCP_PROTO", "PNEUMONIA_PORT_80_TCP_PORT",
        "PNEUMONIA_PORT_53_UDP_ADDR", "PNEUMONIA_MLFLOW_SERVICE_HOST", "PNEUMONIA_TRAIN_PORT_5000_TCP_ADDR",
    ],
)  # fmt: skip
def test_what_kubernetes_sets_for_a_service_is_passed_over(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources._warn_once.cache_clear()
    assert make(**{name: "tcp://10.0.0.1:80"}) == make()
    assert caplog.messages == []


def test_every_setting_has_a_variable_that_is_taken_for_no_service(folder: Path) -> None:
    for name in Config.names():
        assert not sources._is_foreign(sources.variable_of(name))


def test_an_empty_variable_sets_nothing(folder: Path) -> None:
    assert make(PNEUMONIA_TRAIN__EPOCHS="", PNEUMONIA_WORK="", PNEUMONIA_TRACKING__URI="") == make()


def test_a_malformed_value_names_its_variable(folder: Path) -> None:
    assert "train.epochs (from PNEUMONIA_TRAIN__EPOCHS): " in refusal(PNEUMONIA_TRAIN__EPOCHS="many")


# ---- paths


@pytest.mark.parametrize("key", ["work", "data.root", "model.weights"])
def test_a_home_folder_is_expanded_wherever_a_path_is_set(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    section, _, name = key.rpartition(".")
    (folder / "s.toml").write_text(f'[{section}]\n{name} = "~/x"' if section else f'{name} = "~/x"')
    for config in (
        make("fast", f"{key}=~/x"),
        make("fast", **{f"PNEUMONIA_{key.replace('.', '__').upper()}": "~/x"}),
        resolve(file=folder / "s.toml", environment={}),
    ):
        assert getattr(getattr(config, section) if section else config, name) == str(folder / "home" / "x")
    assert make("fast", f"{key}=a/~/x").work == ("a/~/x" if key == "work" else ".pneumonia")
    assert "no home folder is known for ~nobody-of-that-name" in refusal("fast", f"{key}=~nobody-of-that-name/x")


def test_the_settings_file_and_the_database_may_be_in_the_home_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "s.toml").write_text("[train]\nepochs = 7")
    assert resolve(file=Path("~/s.toml"), environment={}).train.epochs == 7
    assert make("fast", "tracking.uri=sqlite:///~/m.db").tracking.uri == f"sqlite:///{folder}/m.db"


@pytest.mark.parametrize("key", ["work", "data.root", "model.weights"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * 300, "a part of the path is longer than the 255 bytes that a name may have"),
        ("a/" + "ö" * 128 + "/b", "a part of the path is longer than the 255 bytes"),
        ("lone \ud800", "the path has bytes that are no UTF-8"),
        ("R\udcf6ntgen", "the path has bytes that are no UTF-8; rename the folder, or name a link to it"),
        ("a\0b", "a path holds no zero byte"),
        ("", "the path is empty; name a file or folder"),
        ("a/" * 2000, "the path is longer than 3800 bytes"),
    ],
)
def test_what_no_path_can_be_is_refused_at_the_start(folder: Path, key: str, value: str, words: str) -> None:
    assert f"{key} (from --set): {words}" in refusal("fast", f"{key}={value}")


# ---- the tree


def test_the_tree_is_frozen(folder: Path) -> None:
    config = make()
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.train = TrainConfig()  # type: ignore[misc]


@pytest.mark.parametrize(("path", "field"), [pytest.param(path, field, id=path) for path, field in fields()])
def test_every_field_is_described_and_has_a_default(path: str, field: FieldInfo) -> None:
    assert field.description, f"{path} has no description"
    assert not field.is_required()


def test_every_section_says_what_it_is() -> None:
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            assert field.annotation.__doc__, name


@pytest.mark.parametrize("profile", PROFILES)
def test_a_tree_survives_json(folder: Path, profile: str) -> None:
    config = make(profile, "data.root=images", "train.learning_rate=0.00012345678901234567")
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_the_schema_can_be_made_into_a_form() -> None:
    schema = Config.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["$defs"]["TrainConfig"]["properties"]["epochs"]["minimum"] == 1


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("epochs=3", "did you mean train.epochs?"),
        ("data.epochs=3", "did you mean train.epochs?"),
        ("uri=x", "did you mean tracking.uri?"),
        ("seed=1", "did you mean phantom.seed or train.seed or evaluation.seed?"),
        ("train.epoch=3", "did you mean epochs?"),
    ],
)
def test_a_setting_without_its_section_is_found_in_it(assignment: str, meant: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve("fast", assignments=[assignment], environment={})
    assert meant in str(refused.value)
