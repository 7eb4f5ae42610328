"""Define the configuration: frozen sections, unknown keys refused, every field described with its unit and range."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pneumonia.config.section import Fraction, PathText, Section, UriText
from pneumonia.config.service import MonitoringConfig, ServingConfig, SigningConfig

PROFILES = ("fast", "full")
CLASSES = ("NORMAL", "PNEUMONIA")
DATA_FOLDER = Path("data/chest_xray")
PHANTOM_ROOT = "phantom"
# only the names: importing the modules would load torch
ARCHITECTURES = tuple(
    sorted(file.stem for file in (Path(__file__).parents[1] / "modelling/architectures").glob("[a-z]*.py"))
)
DEFAULT_ARCHITECTURE = "resnet18"
if TYPE_CHECKING:
    Architecture = str
else:
    Architecture = Literal[ARCHITECTURES]
Shortcut = Literal["none", "encoding", "size", "brightness", "border", "mark"]
NOT_OF_A_RUN = frozenset({"serving", "monitoring", "signing"})
"""Sections that no training depends on: they are left out of its record, its parameters and its form."""


class DataConfig(Section):
    """The radiographs and how they are divided."""

    root: PathText = Field(
        "auto",
        description="Folder that holds train/ and test/ with NORMAL/ and PNEUMONIA/ in each, or phantom; "
        "auto: data/chest_xray where it exists, otherwise phantom",
    )
    patients: Literal["auto", "folder"] = Field(
        "auto",
        description="Where patients are known from: auto: patients.csv, then DICOM PatientID, then published file "
        "names; folder: before the names, each folder below NORMAL/ or PNEUMONIA/ is a patient",
    )
    patient_fraction: float = Field(1.0, gt=0, le=1, description="Share of the training patients that is used")
    validation_fraction: float = Field(
        0.15, gt=0, lt=1, description="Share of the training patients held out for validation"
    )
    gate_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of the training patients held out for good, on whom the gate compares models; 0: nobody",
    )
    split_seed: int = Field(0, ge=0, description="Seed of the patient-grouped split")
    folds: int = Field(
        0,
        ge=0,
        le=100,
        description="Cross-validation: folds that the training patients are dealt into, 2 or more; 0: none",
    )
    fold: int = Field(0, ge=0, lt=100, description="Cross-validation: the fold that is held out, from 0")
    on_unreadable: Literal["fail", "skip"] = Field(
        "fail", description="fail: list all unreadable files and stop; skip: leave them out and record which"
    )
    near_duplicate_correlation: float = Field(
        0.985,
        gt=0,
        le=1,
        description="Correlation of histogram-equalised 32x32 thumbnails from which two images are near-duplicates; "
        "different images of the published set reach 0.978, a recompressed or re-exposed image stays above 0.99",
    )
    shortcut_auroc: float = Field(
        0.7,
        gt=0.5,
        le=1,
        description="The audit flags a shortcut feature that predicts the class with this AUROC or more",
    )
    workers: int = Field(0, ge=0, le=256, description="Decoding threads; 0: one per core")

    @model_validator(mode="after")
    def _known_fold(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: of one fold nothing is left to train on; choose 2 or more, or 0 for none")
        if self.fold >= max(self.folds, 1):
            raise ValueError(f"fold: {self.fold} is none of the {self.folds} folds, which count from 0")
        return self


class PhantomConfig(Section):
    """The synthetic radiographs that are used where no real data are given."""

    train: int = Field(1200, ge=8, le=100_000, description="Phantoms in train/, both classes together")
    test: int = Field(400, ge=8, le=100_000, description="Phantoms in test/, both classes together")
    size: int = Field(224, ge=64, le=2048, description="Side in pixels")
    seed: int = Field(0, ge=0, description="Seed of the generator")
    shortcut: Shortcut = Field(
        "none", description="Shortcut planted into the images of PNEUMONIA, to test that it is detected"
    )
    opacities: bool = Field(
        True, description="Draw opacities into the lungs of PNEUMONIA; off: the lungs of both classes are healthy"
    )


class PreprocessConfig(Section):
    """The preprocessing from a decoded radiograph to the network's input; stored in the model's record."""

    size: int = Field(
        224, ge=32, le=1024, description="Side of the square input in pixels; the aspect ratio is not kept"
    )
    equalize: bool = Field(False, description="Histogram-equalise every image in training, testing and serving")


class AugmentConfig(Section):
    """Random changes to training batches; 0 switches a change off."""

    flip: Fraction = Field(0.5, description="Probability of a horizontal flip")
    rotation: float = Field(10.0, ge=0, le=180, description="Largest rotation, degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="Largest relative change of scale")
    aspect: float = Field(0.0, ge=0, lt=1, description="Largest relative change of aspect ratio")
    shift: Fraction = Field(0.0, description="Largest shift as a share of the side")
    brightness: Fraction = Field(0.1, description="Largest relative change of brightness")
    contrast: Fraction = Field(0.1, description="Largest relative change of contrast about the image's mean")
    gamma: float = Field(0.0, ge=0, lt=1, description="Largest relative change of gamma")
    blur: float = Field(0.0, ge=0, le=5, description="Largest Gaussian sigma, in pixels of the training image")
    jpeg: int = Field(100, ge=1, le=100, description="Lowest JPEG quality of a random compression; 100: off")
    noise: Fraction = Field(0.0, description="Largest standard deviation of Gaussian noise, share of full scale")


class ModelConfig(Section):
    """The network."""

    architecture: Architecture = Field(
        "resnet18", description="resnet18: torchvision's; tiny: 50,000 parameters, for tests and quick trials"
    )
    weights: PathText = Field(
        "auto",
        description="imagenet: torchvision's IMAGENET1K_V1; none: random; or a file with a state dict "
        "(.safetensors or .pt); auto: imagenet for radiographs, none for phantoms",
    )


class TrainConfig(Section):
    """The optimisation."""

    epochs: int = Field(1, ge=1, le=1000, description="Passes over the training set")
    progressive_start_size: int = Field(
        0,
        ge=0,
        multiple_of=32,
        le=1024,
        description="Progressive resizing: side in pixels at the start of training; it increases in steps of 32 to "
        "preprocess.size, which the last third of the training uses; 0: preprocess.size throughout",
    )
    batch_size: int = Field(64, ge=2, le=4096, description="Images per step")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="Optimiser")
    learning_rate: float = Field(0.001, gt=0, le=1, description="Peak learning rate")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Decoupled for adamw; biases and norms are exempt")
    schedule: Literal["constant", "cosine"] = Field("constant", description="Learning rate after the warm-up")
    warmup_epochs: float = Field(0.0, ge=0, le=100, description="Linear warm-up, epochs")
    class_weights: bool = Field(False, description="Weight the loss by inverse class frequency")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Decay per step of the weights' moving average, which is then evaluated; 0: off"
    )
    bn_recalibration_images: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Unaugmented training images to recalibrate batch-norm statistics on after each epoch; 0: off",
    )
    patience: int = Field(
        0, ge=0, le=1000, description="Epochs without a lower validation loss before stopping; 0: off"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: all. Results depend on the number")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initialisation, order and augmentation")
    shards: int = Field(
        0,
        ge=0,
        le=256,
        description="Micro-batches that each batch is cut into, each with a batch norm of its own, so that several "
        "workers compute one training; results depend on this number and not on that of the workers; 0: off",
    )
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Processes on this machine that compute the shards, each with train.threads threads, or one; "
        "0: one per core or GPU, and no more than shards. torchrun starts its own number",
    )
    checkpoint_seconds: int = Field(
        300,
        ge=0,
        le=86_400,
        description="Seconds from one checkpoint to the next within an epoch; 0: after each epoch alone",
    )

    @model_validator(mode="after")
    def _shards_for_all(self) -> Self:
        if self.workers > max(self.shards, 1):
            raise ValueError(
                f"workers: {self.workers} workers need as many shards, and there are {self.shards}; "
                "set train.shards, on which the results depend, or fewer workers"
            )
        if self.shards > self.batch_size // 2:
            raise ValueError(
                f"shards: a batch of {self.batch_size} images gives {self.batch_size // 2} micro-batches of two "
                f"at most, not {self.shards}; set fewer shards, or a larger batch_size"
            )
        return self


class OperatingPointConfig(Section):
    """How a trained network is used; a change calibrates again and trains nothing."""

    threshold: Fraction = Field(
        0.5, description="Probability of PNEUMONIA from which an image is classified as PNEUMONIA"
    )
    temperature: float = Field(
        1.0, gt=0, le=1000, description="Divides the logits, where calibrate is off; found by a recalibration"
    )
    bias: float = Field(
        0.0, ge=-1000, le=1000, description="Added to the log odds of PNEUMONIA, where calibrate is off; likewise"
    )
    calibrate: bool = Field(
        False,
        description="Calibrate on augmented validation images, and choose the threshold on them",
    )
    target_sensitivity: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Sensitivity on these images that the threshold keeps, at the lower end of its interval",
    )
    perturbations: int = Field(
        4, ge=1, le=1000, description="Augmented copies of each validation image to calibrate on"
    )
    flip_tta: bool = Field(
        False, description="Average the logits of each image and of its mirror image, at twice the computation"
    )


class EvaluationConfig(Section):
    """How metrics are reported; a change neither trains nor calibrates."""

    bootstrap: int = Field(2000, ge=100, le=100_000, description="Bootstrap resamples, drawn by patient")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of the intervals")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap")
    prevalence: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of PNEUMONIA at the place of use, at which the calibration is reported besides",
    )
    ablation_images_per_class: int = Field(
        100, ge=8, le=100_000, description="Largest number of images per class of the shortcut ablation"
    )


class GateConfig(Section):
    """The conditions under which a model becomes champion."""

    policy: str = Field(
        "built-in",
        min_length=1,
        description="Change control plan: built-in (pneumonia/config/pccp.toml), or a TOML file of the same form",
    )
    demo: bool = Field(
        False,
        description="Judge by the minimums below alone, on the release set (the official test folder); off: by the "
        "change control plan, first on the gate set and then on the release set",
    )
    min_auroc: Fraction = Field(0.9, description="Demo: minimum of the AUROC")
    min_sensitivity: Fraction = Field(0.6, description="Demo: minimum of the sensitivity at the threshold")
    min_specificity: Fraction = Field(0.6, description="Demo: minimum of the specificity at the threshold")
    max_shortcut_dependence: float = Field(
        0.4,
        ge=0,
        le=2,
        description="Demo: largest decrease of the separation (mean probability of PNEUMONIA of the positives less "
        "that of the negatives) that removing a shortcut from the images may cause; 2 allows any",
    )


class RegistryConfig(Section):
    """Where a model that has passed is registered."""

    name: str = Field(
        "pneumonia-resnet18", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", description="Registered name in MLflow"
    )


class TrackingConfig(Section):
    """Where runs and models are stored."""

    uri: UriText = Field(
        "auto",
        description="MLflow tracking URI, without a password; env:NAME: the URI is read from that variable when it is "
        "used; auto: MLFLOW_TRACKING_URI, otherwise SQLite in the work folder",
    )
    experiment: str = Field("pneumonia", min_length=1, description="MLflow experiment")
    system_metrics: bool = Field(True, description="Log CPU, memory and disk use with the run")


class Config(Section):
    """The whole configuration."""

    profile: Literal["fast", "full"] = Field("fast", description="Profile that this configuration was resolved from")
    work: PathText = Field(".pneumonia", description="Folder for manifests, pixels, checkpoints and reports")
    data: DataConfig = DataConfig()
    phantom: PhantomConfig = PhantomConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    operating_point: OperatingPointConfig = OperatingPointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    registry: RegistryConfig = RegistryConfig()
    tracking: TrackingConfig = TrackingConfig()
    serving: ServingConfig = ServingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    signing: SigningConfig = SigningConfig()

    @classmethod
    def names(cls) -> list[str]:
        """Return the dotted names of all settings."""
        found: list[str] = []
        for name, field in cls.model_fields.items():
            kind = field.annotation
            inner = kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else None
            found += [name] if inner is None else [f"{name}.{key}" for key in inner]
        return found
