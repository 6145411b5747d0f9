"""The leak check sees what a test leaves behind, names it, and stays silent otherwise."""

import pytest

pytest_plugins = ["pytester"]

SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
CHECKED = SETTINGS + "telestage_leak_check = true\n"

LEAKS = """
    import asyncio, socket, subprocess, sys, threading
    import pytest
    from telethon import TelegramClient

    stop = threading.Event()
    kept = []

    async def test_task():
        kept.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten-task"))

    def forgotten_timer(): pass

    async def test_timer():
        asyncio.get_running_loop().call_later(3600, forgotten_timer)

    @pytest.mark.asyncio(loop_scope="module")
    async def test_task_in_a_wider_loop():
        kept.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten-in-module-loop"))

    def test_thread():
        threading.Thread(target=stop.wait, name="forgotten-thread", daemon=True).start()

    def test_socket():
        kept.append(socket.create_server(("127.0.0.1", 0)))

    def test_child():
        command = [sys.executable, "-c", "input()", "forgotten-process"]
        kept.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    async def test_client(telegram):
        kept.append(TelegramClient(telegram.add_user("alice").session, 1, "hash"))
        await kept[-1].connect()

    def test_last():
        stop.set()
        kept[-2].communicate()
        kept[-3].close()
"""

TIDY = """
    import asyncio, socket, subprocess, sys, threading
    import pytest
    from telethon import TelegramClient

    async def test_tidy():
        task = asyncio.create_task(asyncio.sleep(10))
        task.cancel()
        asyncio.get_running_loop().call_later(60, print).cancel()
        await asyncio.to_thread(print)

    def test_tidy_too():
        thread = threading.Thread(target=print)
        thread.start()
        socket.socket().close()
        subprocess.run([sys.executable, "-c", ""])

    @pytest.fixture(scope="module")
    def wide():
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server

    def test_a_wider_fixture_opens(wide): pass
    def test_a_wider_fixture_keeps_open(wide): pass

    @pytest.fixture
    async def worker():
        task = asyncio.create_task(asyncio.Event().wait())
        yield task
        task.cancel()

    async def test_a_fixture_ends_its_task(worker): pass

    async def test_a_client_disconnects(telegram):
        alice = telegram.add_user("alice")
        client = TelegramClient(alice.session, 1, "hash")
        await client.connect()
        assert (await client.get_me()).id == alice.id
        await client.disconnect()
"""


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_each_leak_fails_its_test_and_is_named(pytester: pytest.Pytester) -> None:
    """R-T4."""
    pytester.makeini(CHECKED)
    pytester.makepyfile(LEAKS)
    result = run(pytester)
    result.assert_outcomes(passed=8, errors=7)
    for leak in (
        "*task*forgotten-task*",
        "*timer due in*forgotten_timer*",
        "*task*forgotten-in-module-loop*",
        "*thread*forgotten-thread*",
        "*socket*127.0.0.1*",
        "*child process*forgotten-process*",
        "*task*UpdateMethods._update_loop*",
    ):
        result.stdout.fnmatch_lines(["*the test left behind:", leak])


def test_tidy_tests_pass(pytester: pytest.Pytester) -> None:
    pytester.makeini(CHECKED)
    pytester.makepyfile(TIDY)
    run(pytester).assert_outcomes(passed=6)


def test_the_check_is_off_unless_asked_for_and_costs_no_import(pytester: pytest.Pytester) -> None:
    pytester.makeini(SETTINGS)
    pytester.makepyfile("""
        import sys, threading
        def test_thread():
            assert "telethon" not in sys.modules
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    """)
    run(pytester).assert_outcomes(passed=1)
