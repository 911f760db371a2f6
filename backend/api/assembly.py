"""The services of the real engine process, on this user's files."""

from __future__ import annotations

from backend.api.schemas import LoadModel
from backend.api.services import Services
from backend.config.paths import paths
from backend.config.settings import Settings
from backend.engine.loading import load_model
from backend.engine.worker import Engine
from backend.hardware.probe import probe
from backend.hardware.speeds import keep_speeds
from backend.hub.catalogue import builtin_file
from backend.hub.home import builds_of, folders, read_home
from backend.hub.local import LocalModels
from backend.hub.network import obey
from backend.planner.learned import Learned
from backend.planner.observing import Observer
from backend.storage.store import Store

__all__ = ["build_services"]


def build_services(load_defaults: LoadModel | None = None) -> Services:
    """Opens the database and puts everything together; `load_defaults` are the user's choices for every model.

    Raises:
        StorageError and its subclasses.
    """
    places = paths()
    keep_speeds(places.measured)
    obey(Settings.load(places.settings))
    store = Store.open(places.database)
    learned = Learned(places.learned)
    return Services.build(
        store=store,
        engine=Engine(load_model, Observer(learned).answered),
        models=LocalModels(builtin_file(places.models), [places.models, places.builds], chosen=folders),
        builds=builds_of(read_home().folder),
        own_folders=lambda: [places.models, places.builds, *(one / "builds" for one in folders())],
        data_dir=places.data,
        hardware=lambda: probe(places.data),
        learned=learned,
        load_defaults=load_defaults,
    )
