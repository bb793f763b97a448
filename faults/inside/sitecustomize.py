"""Read by Python at its start in every process of a service under test; sabotages its API and its workers."""

import os
import sys

if "FAULTS_DIR" in os.environ and {"api", "celery"} & set(sys.orig_argv):
    from faults import saboteur

    saboteur.install()
