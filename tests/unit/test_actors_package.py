"""What `telestage.actors` offers."""

import subprocess
import sys

import telestage.actors as actors
import telestage.actors.jobs as jobs
import telestage.actors.kernel as kernel
import telestage.actors.monitoring as monitoring
import telestage.actors.store as store
import telestage.actors.telegram as telegram
import telestage.actors.testkit as testkit


def test_everything_public_is_offered_at_the_top():
    parts = (jobs, kernel, monitoring, store, telegram)
    assert set(actors.__all__) == {"Fleet"}.union(*(part.__all__ for part in parts))
    for package in (actors, *parts):
        assert len(package.__all__) == len(set(package.__all__))
        for name in package.__all__:
            assert getattr(package, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(actors, "Fleeet")


def test_actors_alone_do_not_load_their_test_kit():
    code = "import sys, telestage.actors; sys.exit(any('testkit' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_test_kit_offers_what_it_says():
    assert testkit.__all__ == sorted(testkit.__all__)
    assert all(getattr(testkit, name) is not None for name in testkit.__all__)


def test_actors_alone_do_not_load_telethon():
    code = "import sys, telestage.actors; telestage.actors.ActorSystem; sys.exit('telethon' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_monitor_alone_does_not_load_telethon():
    """R-E: usable in a program that has nothing to do with Telegram."""
    code = "import sys; from telestage.actors import EventMonitor; sys.exit('telethon' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
