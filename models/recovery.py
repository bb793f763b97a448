"""`python -m models.recovery` puts back into the queue what a crash left running; no worker may be alive."""

from models import leases
from models.database import Database
from models.settings import read_settings


def main() -> None:
    """Put the orphans back and say how many there were, if any."""
    database = Database(read_settings().database_url)
    with database.write() as session:
        orphans = leases.return_orphans(session, "bnlab up")
    database.close()
    if orphans:
        print(f"{orphans} unfinished arms of the last run are back in the queue.")


if __name__ == "__main__":
    main()
