"""The configuration tree: frozen sections, unknown keys refused, every field described with its unit and range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PROFILES = ("fast", "full")

CLASSES = ("NORMAL", "PNEUMONIA")

DATA_FOLDER = Path("data/chest_xray")

PHANTOM_ROOT = "phantom"

Cue = Literal["none", "encoding", "size", "brightness", "border", "mark"]

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    """Which radiographs, and how they are divided."""

    root: str = Field(
        "auto",
        description="Folder that holds train/ and test/ with NORMAL/ and PNEUMONIA/ in each, or phantom; "
        "auto: data/chest_xray where it exists, otherwise phantom",
    )
    patient_fraction: float = Field(1.0, gt=0, le=1, description="Share of the training patients that is used")
    validation_fraction: float = Field(
        0.15, gt=0, lt=1, description="Share of the training patients held out for validation"
    )
    split_seed: int = Field(0, ge=0, description="Seed of the patient-grouped draw")
    on_unreadable: Literal["fail", "skip"] = Field(
        "fail", description="fail: list all unreadable files and stop; skip: leave them out and record which"
    )
    near_duplicate_correlation: float = Field(
        0.985,
        gt=0,
        le=1,
        description="Correlation of histogram-equalised 32x32 thumbnails from which two films are near-duplicates; "
        "different films of the published set reach 0.978, a film compressed or exposed anew stays above 0.99",
    )
    shortcut_auroc: float = Field(
        0.7, gt=0.5, le=1, description="AUROC of the class by a cue alone from which the audit flags the cue"
    )
    workers: int = Field(0, ge=0, le=256, description="Decoding threads; 0: one per core")


class PhantomConfig(Section):
    """The synthetic radiographs used where no real data is given."""

    train: int = Field(1200, ge=8, le=100_000, description="Phantoms in train/, both classes together")
    test: int = Field(400, ge=8, le=100_000, description="Phantoms in test/, both classes together")
    size: int = Field(224, ge=64, le=2048, description="Side in pixels")
    seed: int = Field(0, ge=0, description="Seed of the generator")
    cue: Cue = Field("none", description="Shortcut planted into the films of PNEUMONIA, to see that it is found")
    opacities: bool = Field(
        True, description="Off: the lungs of both classes are healthy, the label says nothing of them"
    )


class PreprocessConfig(Section):
    """What turns a decoded radiograph into the network's input; travels inside the model's record."""

    size: int = Field(224, ge=32, le=1024, description="Side of the square input in pixels; the aspect is squashed")
    equalize: bool = Field(False, description="Histogram-equalise every image, in training, testing and serving alike")


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
    blur: float = Field(0.0, ge=0, le=5, description="Largest Gaussian sigma, pixels of the film as it is trained at")
    jpeg: int = Field(100, ge=1, le=100, description="Lowest JPEG quality that films are compressed to; 100: off")
    noise: Fraction = Field(0.0, description="Largest standard deviation of Gaussian noise, share of full scale")


class ModelConfig(Section):
    """The network."""

    architecture: Literal["resnet18"] = Field("resnet18", description="torchvision's ResNet18, last layer 2 classes")
    weights: str = Field(
        "auto",
        description="imagenet: torchvision's IMAGENET1K_V1; none: random; or a file with a state dict "
        "(.safetensors or .pt); auto: imagenet for radiographs, none for phantoms",
    )
    name: str = Field(
        "pneumonia-resnet18", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", description="Registered name in MLflow"
    )


class TrainConfig(Section):
    """The optimisation."""

    epochs: int = Field(1, ge=1, le=1000, description="Passes over the training set")
    start_size: int = Field(
        0,
        ge=0,
        multiple_of=32,
        le=1024,
        description="Side in pixels at which training begins; it grows by 32 at a time to preprocess.size, which the "
        "last third is trained at; 0: preprocess.size throughout",
    )
    batch_size: int = Field(64, ge=2, le=4096, description="Images a step")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="Optimiser")
    learning_rate: float = Field(0.001, gt=0, le=1, description="Peak learning rate")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Decoupled for adamw; biases and norms are exempt")
    schedule: Literal["constant", "cosine"] = Field("constant", description="Learning rate after the warm-up")
    warmup_epochs: float = Field(0.0, ge=0, le=100, description="Linear warm-up, epochs")
    class_weights: bool = Field(False, description="Weight the loss by inverse class frequency")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Decay a step of the weights' moving average, which is what is evaluated; 0: off"
    )
    norm_films: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Unaugmented training films to take batch-norm statistics anew from after each epoch; 0: off",
    )
    patience: int = Field(0, ge=0, le=1000, description="Epochs without a better validation before stopping; 0: off")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: all. Results are bit-equal per thread count")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of initialisation, order and augmentation")


class EvaluateConfig(Section):
    """How figures are made."""

    threshold: Fraction = Field(0.5, description="Probability of PNEUMONIA from which a film is called PNEUMONIA")
    calibrate: bool = Field(
        False,
        description="Calibrate on validation films changed as in training, and take the threshold from them",
    )
    target_sensitivity: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Sensitivity on those films that the calibrated threshold keeps, at the lower end of its interval",
    )
    perturbations: int = Field(4, ge=1, le=1000, description="How often each validation film is changed to calibrate")
    mirror: bool = Field(
        False, description="Average each film's logits with those of its mirror image, at twice the work"
    )
    bootstrap: int = Field(2000, ge=100, le=100_000, description="Bootstrap resamples, drawn by patient")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Coverage of the intervals")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap")
    rescored: int = Field(
        100, ge=8, le=100_000, description="Films a class on which the reliance on shortcuts is measured, at most"
    )


class GateConfig(Section):
    """What a model must reach on the test folder before it may become champion."""

    min_auroc: Fraction = Field(0.96, description="Floor for the AUROC")
    min_sensitivity: Fraction = Field(0.85, description="Floor for the sensitivity at the threshold")
    min_specificity: Fraction = Field(0.70, description="Floor for the specificity at the threshold")
    max_reliance: float = Field(
        0.4,
        ge=0,
        le=2,
        description="Largest fall of the separation (mean probability of PNEUMONIA in the ill less that in the well) "
        "that taking a shortcut out of the films may cause; 2 allows any",
    )
    max_auroc_loss: Fraction = Field(
        0.01, description="The AUROC may not be lower than the champion's by more, at the bootstrap's confidence"
    )


class TrackingConfig(Section):
    """Where runs and models are kept."""

    uri: str = Field(
        "auto", description="MLflow tracking URI; auto: MLFLOW_TRACKING_URI, otherwise SQLite in the work folder"
    )
    experiment: str = Field("pneumonia", min_length=1, description="MLflow experiment")
    system_metrics: bool = Field(True, description="Log CPU, memory and disk use with the run")


class Config(Section):
    """The whole configuration."""

    profile: Literal["fast", "full"] = Field("fast", description="Profile that this tree was resolved from")
    work: str = Field(".pneumonia", description="Folder for manifests, pixels, checkpoints and reports")
    data: DataConfig = DataConfig()
    phantom: PhantomConfig = PhantomConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    tracking: TrackingConfig = TrackingConfig()
