"""A DICOM image with every attribute that identifies somebody, each with a value that can be looked for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from tests.support.images import dicom

STUDY_UID, SERIES_UID, INSTANCE_UID = "1.2.826.0.1.777001", "1.2.826.0.1.777002", "1.2.826.0.1.777003"
PATIENT_ID = "MRN-55512345"
TEXTS = {
    "PatientID": PATIENT_ID, "PatientName": "DOE^JANE", "PatientBirthDate": "19610203", "PatientSex": "F",
    "PatientAge": "063Y", "PatientAddress": "12 ELM STREET", "PatientTelephoneNumbers": "555-0142",
    "PatientMotherBirthName": "ROE^MARY", "OtherPatientNames": "SMITH^JANE", "PatientComments": "VIP COUSIN",
    "EthnicGroup": "KLINGON", "Occupation": "GLASS BLOWER", "MedicalRecordLocator": "SHELF 9",
    "AccessionNumber": "ACC98765", "StudyID": "ST4711", "StudyDate": "20240611", "StudyTime": "081512",
    "SeriesDate": "20240612", "AcquisitionDateTime": "20240613081513", "ContentDate": "20240614",
    "InstitutionName": "MERCY HOSPITAL", "InstitutionAddress": "1 HILL ROAD", "StationName": "XRAY7",
    "InstitutionalDepartmentName": "PAEDIATRICS", "ReferringPhysicianName": "WHO^DOCTOR",
    "OperatorsName": "TECH^TINA", "PerformingPhysicianName": "RAY^ROY", "DeviceSerialNumber": "SN-31337",
    "ManufacturerModelName": "MODELX", "StudyDescription": "CHEST OF JANE", "SeriesDescription": "PORTABLE BED 4",
    "ProtocolName": "WARD-B", "ImageComments": "SEE JANE", "RequestedProcedureDescription": "RULE OUT TB",
    "AdditionalPatientHistory": "COUGH SINCE MAY", "DerivationDescription": "CROPPED BY BOB",
    "DetectorID": "DET-42", "PlateID": "PLATE-77", "StudyInstanceUID": STUDY_UID, "SeriesInstanceUID": SERIES_UID,
    "SOPInstanceUID": INSTANCE_UID, "FrameOfReferenceUID": "1.2.826.0.1.777004",
    "WindowCenterWidthExplanation": "BOBBY TABLES",
    "RescaleType": "JANES", "BodyPartExamined": "CHEST JANE", "ViewPosition": "PA JANE", "Modality": "CR",
}  # fmt: skip
_COMMON = ("Modality", "PatientSex")  # values that every file may hold
SECRETS = (*(value for name, value in TEXTS.items() if name not in _COMMON), "PRIVATE NOTE", "REQ-1")


def identified(stored: NDArray[Any] | None = None, **elements: Any) -> bytes:
    """A DICOM image of values uint8 [H, W] that says everything about its patient."""
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) if stored is None else stored
    image = pydicom.dcmread(io.BytesIO(dicom(pixels, ExplicitVRLittleEndian)))
    for name, value in (TEXTS | elements).items():
        setattr(image, name, value)
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "PRIVATE NOTE")
    request = Dataset()
    request.RequestedProcedureID = "REQ-1"
    request.PatientName = image.PatientName
    image.RequestAttributesSequence = Sequence([request])
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue()


def leaked(content: bytes | str) -> list[str]:
    """Return the identifying values that occur in a content, in any case."""
    found = content.encode() if isinstance(content, str) else content
    return [value for value in SECRETS if value.lower().encode() in found.lower()]
