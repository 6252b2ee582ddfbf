"""One object that says where to run: threads, processes of this machine, or a dask cluster."""

from geocube_ml.cluster.open import open_cluster
from geocube_ml.cluster.threads import cores
from geocube_ml.cluster.workers import Failure, Workers

__all__ = ["Failure", "Workers", "cores", "open_cluster"]
