"""What can go wrong, one class a situation.

Every class is an `EvenflowError` and also the built-in error that torch or Python would raise in that situation, so
that existing `except ValueError` code goes on working.
"""


class EvenflowError(Exception):
    """Root of all errors that evenflow raises on purpose."""


class ParameterValueError(EvenflowError, ValueError):
    """A hyper-parameter has a value outside its range."""


class ParameterTypeError(EvenflowError, TypeError):
    """A hyper-parameter has the wrong type."""


class TensorShapeError(EvenflowError, ValueError):
    """A tensor has a shape that the operation is not defined for."""


class TensorDtypeError(EvenflowError, TypeError):
    """A tensor has a dtype that the operation is not defined for."""


class SharedMemoryError(EvenflowError, RuntimeError):
    """Elements of a tensor that is to be written share memory, as after `expand`."""


class MetaTensorError(EvenflowError, NotImplementedError):
    """A tensor has no memory to read or write: it lies on the meta device, stands for another one, or was freed."""


class ShardingError(EvenflowError, ValueError):
    """A tensor is spread over processes in a way that does not say which of its elements are here."""


class UnknownLayerError(EvenflowError, TypeError):
    """No rule is known for this type of layer."""


class UnknownActivationError(EvenflowError, ValueError):
    """No activation is known by this name."""


class NonFiniteError(EvenflowError, RuntimeError):
    """NaN or infinity where a finite number was required."""


class NoParametersError(EvenflowError, ValueError):
    """The model has no parameter that could be trained."""


class BatchError(EvenflowError, ValueError):
    """The batch is empty, of an unknown form, or does not fit the model."""


class ModelError(EvenflowError, RuntimeError):
    """The model raised, or returned something that no loss can be computed from."""


class LossError(EvenflowError, ValueError):
    """No loss function was given and none can be guessed, or the given one is unusable."""


class TreatmentError(EvenflowError, RuntimeError):
    """A treatment cannot be applied to this model, or has been undone already."""


class SourceError(EvenflowError, ValueError):
    """`FILE.py:NAME` or `package.module:NAME` does not lead to what was asked for."""


class DestinationError(EvenflowError, OSError):
    """A file cannot be written where it was asked for."""


class MissingExtraError(EvenflowError, ImportError):
    """An optional dependency is not installed."""


class PlanError(EvenflowError, ValueError):
    """A plan does not fit the model, or is no plan."""


class ScaledGradientsError(EvenflowError, RuntimeError):
    """Gradients are still multiplied by the scale of a GradScaler, and cannot be unscaled from here."""


class HistoryError(EvenflowError, RuntimeError):
    """Too little has been seen yet to answer."""


class StateError(EvenflowError, ValueError):
    """A state dictionary does not fit what it is loaded into."""


class ClaimError(EvenflowError, ValueError):
    """A claim of the lab lacks a part, contradicts its own prediction, or is not there."""


class ChangedClaimError(EvenflowError, RuntimeError):
    """A prediction or the code of a claim changed after trials of it were measured."""


class NoResultsError(EvenflowError, LookupError):
    """There is no measured trial of the kind that was asked for."""


class StoreError(EvenflowError, OSError):
    """The lab's store is no store, is corrupt, locked, or cannot be written."""


class DataFileError(EvenflowError, OSError):
    """A file of data is not there, or holds something else."""


class EngineError(EvenflowError, RuntimeError):
    """What is to run the lab's trials cannot be reached."""
