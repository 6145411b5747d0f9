"""What outlives a process, in one SQLite file: knows nothing of Telegram."""

from telestage.actors.store.database import Migrations, Store
from telestage.actors.store.errors import LeaseHeld, LeaseLost, StoreClosed, StoreError, StoreKeyError, StoreTooNew
from telestage.actors.store.leases import Lease, Leases, LeaseStatus, lease_status
from telestage.actors.store.owner import Owner
from telestage.actors.store.vault import Vault

__all__ = [
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "LeaseStatus",
    "Leases",
    "Migrations",
    "Owner",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreKeyError",
    "StoreTooNew",
    "Vault",
    "lease_status",
]
