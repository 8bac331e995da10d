"""GoPs as tasks of Ray: what a cluster is asked for, by a stand-in, and two nodes of which one dies, with Ray."""

from __future__ import annotations

import dataclasses
import pickle
import signal
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from clips import moving_clip, write_video
from fits import gop_config

from stgvcodec import EncodeConfig, StgvError, encode
from stgvcodec._version import __version__
from stgvcodec.encoder.engines import ray_tasks
from stgvcodec.encoder.engines.gop_job import FitProgress, GopJob, fit_gop
from stgvcodec.encoder.engines.gop_origin import GopOrigin
from stgvcodec.encoder.engines.ray_tasks import RayTasks
from stgvcodec.encoder.fitted_gop import frames_crc
from stgvcodec.encoder.step_costs import StepCosts
from stgvcodec.errors import BackendUnavailableError, CancelledError, ConfigError
from stgvcodec.media import open_video
from stgvcodec.media.masks import filled
from stgvcodec.media.selection import Selection
from stgvcodec.media.shared_source import shared_source


class RayError(Exception):
    """Base of what Ray raises."""


class RayTaskError(RayError):
    """What a task raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeActor:
    """An actor, which answers at once, or not at all any more."""

    def __init__(self, cluster: FakeRay, held: object) -> None:
        self._cluster, self._held = cluster, held

    def __getattr__(self, name: str) -> SimpleNamespace:
        def call(*arguments: object) -> tuple:
            if self not in self._cluster.actors:
                return died, ()
            answer = getattr(self._held, name)(*arguments)
            return lambda: answer, ()

        return SimpleNamespace(remote=call)


def died() -> None:
    """Stand for the answer of an actor that is not there."""
    raise RayError("the actor died")


class FakeRay:
    """A cluster that runs a task when its result is asked for.

    Attributes:
        connected: Set when `init` is to return.
        asked: Options of tasks, in the order in which they were asked for.
        answers: Function -> what it returns there, where it is not run here.
        cancelled: Tasks that were cancelled.
        fitted: Arguments and answers of the tasks that fitted GoPs.
        actors: Actors that run.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, **resources: float) -> None:
        self.resources, self.asked, self.cancelled, self.fitted, self.actors = resources, [], [], [], []
        self.answers = {ray_tasks._answer: (__version__, "triton")}
        self.is_up = self.is_done = True
        self.connected = threading.Event()
        self.connected.set()

    def is_initialized(self) -> bool:
        return self.is_up

    def init(self, address, **_) -> None:
        if address == "ray://nowhere:10001":
            raise ConnectionError("ray client connection timeout")
        self.is_up = True
        self.connected.wait()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def shutdown(self) -> None:
        self.is_up = False

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    available_resources = cluster_resources

    def remote(self, function):
        if isinstance(function, type):
            return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.start_actor(function)))

        def options(**options):
            self.asked.append((function, options))
            return SimpleNamespace(remote=lambda *arguments: (function, arguments))

        return SimpleNamespace(options=options)

    def start_actor(self, kind):
        def start() -> FakeActor:
            self.actors.append(FakeActor(self, kind()))
            return self.actors[-1]

        return start

    def kill(self, actor) -> None:
        self.actors.remove(actor)

    def wait(self, tasks, timeout):
        if self.is_done or timeout == 0:
            return tasks, []
        time.sleep(0.01)
        return [], tasks

    def get(self, task):
        function, arguments = task
        answer = self.answers.get(function)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        answer = function(*arguments)
        if function is ray_tasks._fitted:
            self.fitted.append((arguments, answer))
        return answer

    def cancel(self, task, force):
        assert force
        self.cancelled.append(task)


@pytest.fixture
def cluster(monkeypatch) -> FakeRay:
    fake = FakeRay(CPU=8.0, GPU=2.0)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def make_job() -> GopJob:
    return GopJob(0, moving_clip(2), None, gop_config("compact"), 5, StepCosts())


def no_check() -> None:
    return


def test_tasks_share_the_gpus_of_the_cluster(cluster):
    with RayTasks("", "auto", "auto", 4) as engine:
        assert (engine.device.type, engine.backend) == ("cuda", "triton")
        assert (engine.n_at_once, engine.n_planned) == (8, 16)
        assert engine.division == "as tasks of a Ray cluster on 2 x cuda"
        assert engine.has_room()
        assert not engine.is_here
    assert [options for _, options in cluster.asked] == [{"max_retries": 3, "num_gpus": 0.25, "num_cpus": 0}] * 2


def test_tasks_take_a_core_each_where_there_is_no_gpu_or_none_is_wanted(cluster):
    cluster.answers[ray_tasks._answer] = (__version__, "numba")
    for device, resources in (("cpu", {"CPU": 8.0, "GPU": 2.0}), ("auto", {"CPU": 8.0})):
        cluster.resources = resources
        with RayTasks("", device, "auto", 4) as engine:
            assert (engine.device.type, engine.backend, engine.n_at_once) == ("cpu", "numba", 8)
        assert cluster.asked[-1][1] == {"max_retries": 3, "num_cpus": 1}


@pytest.mark.parametrize(
    ("device", "resources", "answer", "error", "said"),
    [
        ("cuda", {"CPU": 8.0}, None, BackendUnavailableError, "the Ray cluster has no GPU to fit on"),
        ("cuda:1", {"GPU": 2.0}, None, ConfigError, "device is 'cuda:1', expected auto, cpu or cuda"),
        ("cpu", {"CPU": 1.0}, ("0.1", "numba"), StgvError, "the Ray cluster has stgvcodec 0.1, expected"),
        ("cpu", {"CPU": 1.0}, RayTaskError(BackendUnavailableError("no")), BackendUnavailableError, "no"),
        ("cpu", {"CPU": 1.0}, RayError("lost\nits node"), StgvError, "a task of Ray failed 4 times.*: lost$"),
    ],
    ids=["no GPU", "number", "version", "back end", "lost"],
)
def test_a_cluster_that_cannot_is_refused(cluster, device, resources, answer, error, said):
    cluster.resources = resources
    cluster.answers[ray_tasks._answer] = answer
    with pytest.raises(error, match=said):
        RayTasks("", device, "auto", 4)


def test_a_cluster_is_connected_for_as_long_as_it_is_needed(cluster):
    """Ray's handler of SIGTERM does not take the place of that of the command line."""
    cluster.is_up = False
    handler = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, no_check)
    try:
        with RayTasks("ray://head:10001", "auto", "auto", 4):
            assert cluster.is_up
            assert signal.getsignal(signal.SIGTERM) is no_check
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert not cluster.is_up
    with pytest.raises(StgvError, match=r"--engine ray: no cluster answers \(ray client connection timeout\)"):
        RayTasks("ray://nowhere:10001", "auto", "auto", 4)


class Ctrl(BaseException):
    """What a handler of signals raises."""


def raise_in_the_main_thread(*_: object) -> None:
    raise Ctrl


@pytest.mark.parametrize(("address", "waits"), [("", True), ("ray://head:10001", False)])
def test_what_ends_the_connecting_leaves_no_half_of_a_cluster(cluster, address, waits):
    """What Ray starts on this machine is waited for, and ended; what is elsewhere is not."""
    cluster.is_up = False
    cluster.connected.clear()

    def interrupt() -> None:
        while not cluster.is_up:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        if waits:
            cluster.connected.set()

    handler = signal.signal(signal.SIGUSR1, raise_in_the_main_thread)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Ctrl):
            RayTasks(address, "auto", "auto", 4)
    finally:
        signal.signal(signal.SIGUSR1, handler)
        thread.join()
    assert cluster.is_up == (not waits)
    # What connects late is disconnected.
    cluster.connected.set()
    while cluster.is_up:
        time.sleep(0.01)


def test_a_probe_that_nobody_waits_for_any_more_is_cancelled(cluster):
    cluster.is_done = False
    handler = signal.signal(signal.SIGUSR1, raise_in_the_main_thread)
    timer = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Ctrl):
            RayTasks("", "auto", "auto", 4)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert len(cluster.cancelled) == 1


def test_a_cluster_that_was_connected_before_stays_so(cluster):
    with RayTasks("", "auto", "auto", 4):
        pass
    assert cluster.is_up


def test_a_fit_that_is_not_wanted_any_more_is_cancelled(cluster):
    def check() -> None:
        if len(checks) == 3:
            raise CancelledError("enough")
        checks.append(1)

    checks: list[int] = []
    engine = RayTasks("", "auto", "auto", 4)
    cluster.is_done = False
    with engine, pytest.raises(CancelledError, match="enough"):
        engine.fit(make_job(), None, check)
    assert len(cluster.cancelled) == 1


def test_what_tasks_tell_comes_from_the_actor_that_they_tell_it(cluster, monkeypatch):
    """An actor that dies is missed by nobody; it ends with the engine."""
    monkeypatch.setattr(ray_tasks, "PROGRESS_INTERVAL_SECONDS", 0.001)
    told, n_looks = [], 0

    def tell_and_die() -> None:
        nonlocal n_looks
        n_looks += 1
        if n_looks <= 2:
            board.tell.remote(n_looks, dataclasses.astuple(FitProgress("joint", n_looks, 9, 0.5, 30.0)))
        if n_looks == 9:
            cluster.actors.clear()
        if n_looks == 20:
            raise CancelledError("enough")

    engine = RayTasks("", "auto", "auto", 4)
    with engine:
        engine.fit(make_job(), None, no_check)
        assert cluster.actors == []
        board = engine._progress.board()
        cluster.is_done = False
        # The fit before had the number 0.
        with pytest.raises(CancelledError, match="enough"):
            engine.fit(make_job(), told.append, tell_and_die)
        assert told == [FitProgress("joint", 1, 9, 0.5, 30.0)]
        cluster.actors.append(board)
    assert cluster.actors == []


def test_a_task_tells_its_board(cluster):
    cluster.answers[ray_tasks._answer] = (__version__, "numba")
    with RayTasks("", "cpu", "auto", 4) as engine:
        engine.fit(make_job(), lambda _: None, no_check)
        (actor,) = cluster.actors
        ((number, told),) = actor._held.take().items()
    last = FitProgress(*told)
    assert (number, last.step) == (0, last.n_steps)
    assert 0.5 < last.share <= 1.0


def test_what_a_task_raises_is_raised_here(cluster):
    cluster.answers[ray_tasks._fitted] = RayTaskError(StgvError("not enough memory"))
    with RayTasks("", "auto", "auto", 4) as engine, pytest.raises(StgvError, match="not enough memory"):
        engine.fit(make_job(), None, no_check)


def job_of(path, *, masked: bool = False) -> GopJob:
    """Two frames of a video file, with or without masks, by their name and as they are."""
    with open_video(path) as video:
        frames = list(video)[1:3]
    known = np.random.default_rng(0).random((2, 32, 48)) < 0.9 if masked else None
    pictures = [frame.rgb for frame in frames]
    if known is not None:
        pictures = [filled(picture, pixels) for picture, pixels in zip(pictures, known, strict=True)]
    source = shared_source(path, Selection(), None, None)
    origin = GopOrigin(source, tuple(frame.pts for frame in frames), frames_crc(np.stack(pictures), known))
    return replace(make_job(), frames=np.stack(pictures), known=known, origin=origin)


@pytest.mark.parametrize("masked", [False, True])
def test_frames_are_read_by_the_task_where_it_can(cluster, tmp_path, masked):
    cluster.answers[ray_tasks._answer] = (__version__, "numba")
    job = job_of(write_video(moving_clip(4), tmp_path / "a.mkv", [0, 40, 80, 120]), masked=masked)
    with RayTasks("", "cpu", "auto", 4) as engine:
        payload = engine.fit(job, None, no_check)
    assert payload.bytes == fit_gop(job, None, no_check).bytes
    (((sent, *_), _),) = cluster.fitted
    assert isinstance(sent, ray_tasks._UnreadJob)
    assert (sent.masks is None) == (not masked)
    # Masks take a bit for each pixel.
    n_bytes = len(pickle.dumps(job)) - job.frames.nbytes - (job.known.size - sent.masks.size if masked else 0)
    assert len(pickle.dumps(sent)) < n_bytes + 200


def test_frames_that_a_task_cannot_read_are_sent_from_then_on(cluster, tmp_path, caplog):
    cluster.answers[ray_tasks._answer] = (__version__, "numba")
    path = write_video(moving_clip(4), tmp_path / "a.mkv", [0, 40, 80, 120])
    job = job_of(path)
    path.unlink()
    with RayTasks("", "cpu", "auto", 4) as engine, caplog.at_level("INFO", ray_tasks.__name__):
        payloads = [engine.fit(job, None, no_check) for _ in range(2)]
    assert {payload.bytes for payload in payloads} == {fit_gop(job, None, no_check).bytes}
    assert [type(sent) for (sent, *_), _ in cluster.fitted] == [ray_tasks._UnreadJob, GopJob, GopJob]
    (line,) = caplog.messages
    assert line.startswith(f"{path}: its frames are sent to the workers, one of which says: {path}: does not exist")


def test_other_engines_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="engine is 'dask', expected local, ray, or the address of a Ray cluster"):
        encode(moving_clip(1), tmp_path / "a.stgv", fps=25, engine="dask")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StgvError, match=r"--engine ray: needs the package ray .*pip install 'stgvcodec\[ray\]'"):
        encode(moving_clip(1), tmp_path / "a.stgv", fps=25, engine="ray://nowhere:10001")


@pytest.mark.slow
def test_two_nodes_of_which_one_dies_write_the_file_of_one_machine(tmp_path, monkeypatch):
    """The second node is killed while it has a task, which would take minutes there."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    begun, fitted = tmp_path / "begun", ray_tasks._fitted

    def told(job, *arguments):
        node = ray.get_runtime_context().get_node_id()
        with begun.open("a") as file:
            file.write(f"{job.index} {node}\n")
        if node == doomed:
            time.sleep(300)
        return fitted(job, *arguments)

    def kill_the_second() -> None:
        while not (begun.exists() and doomed in begun.read_text()):
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    config = EncodeConfig(preset="tiny", bpp_target=6.0, gop=2)
    frames, finished = moving_clip(16), []
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        doomed = second.node_id
        monkeypatch.setattr(ray_tasks, "_fitted", told)
        killer = threading.Thread(target=kill_the_second)
        killer.start()

        def watch(progress) -> None:
            if progress.phase.endswith("finished"):
                finished.append(progress.phase)

        report = encode(
            frames, tmp_path / "ray.stgv", config=config, fps=25, device="cpu", engine="ray", progress=watch
        )
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    n_gops = len(report.gops)
    assert report.device == "2 x cpu by Ray"
    assert finished == [f"gop {i}: finished" for i in range(n_gops)]
    indices = [int(line.split()[0]) for line in begun.read_text().splitlines()]
    assert set(indices) == set(range(n_gops))
    # What was under way on the second node was begun once more, and nothing else.
    assert len(indices) == n_gops + 1
    # Twice as many GoPs are planned as are fitted at once.
    encode(frames, tmp_path / "alone.stgv", config=config, fps=25, device="cpu", jobs=4)
    assert (tmp_path / "ray.stgv").read_bytes() == (tmp_path / "alone.stgv").read_bytes()


@pytest.mark.slow
def test_frames_are_sent_to_a_cluster_only_where_it_cannot_read_them(tmp_path, monkeypatch):
    """One of two videos is gone when tasks look for it; of both the file is that of one machine."""
    ray = pytest.importorskip("ray")
    told, fitted = tmp_path / "told", ray_tasks._fitted

    def telling(job, *arguments):
        with told.open("a") as file:
            file.write(f"{type(job).__name__} {len(pickle.dumps(job))}\n")
        return fitted(job, *arguments)

    monkeypatch.setattr(ray_tasks, "_fitted", telling)
    config, masks = EncodeConfig(preset="tiny", bpp_target=6.0, gop=2), np.zeros((64, 96), np.uint8)
    masks[10:30, 20:50] = 1
    path = write_video(moving_clip(8, 96, 64), tmp_path / "a.mkv", [40 * t for t in range(8)])
    encode(path, tmp_path / "alone.stgv", config=config, mask=masks, device="cpu", jobs=4)
    frame_bytes, sent = 2 * 96 * 64 * 3, {}
    steps, start_board = [], ray_tasks._Progress.board

    def watch(progress) -> None:
        if progress.step:
            steps.append(progress.step)

    def board_that_dies(progress):
        board = start_board(progress)
        if not path.exists():
            ray.kill(board, no_restart=True)
        return board

    monkeypatch.setattr(ray_tasks._Progress, "board", board_that_dies)
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        for name, on_plan in (("seen", lambda _: None), ("gone", lambda _: path.unlink())):
            destination = tmp_path / f"{name}.stgv"
            encode(
                path, destination, config=config, mask=masks, device="cpu", engine="ray", plan=on_plan, progress=watch
            )
            assert destination.read_bytes() == (tmp_path / "alone.stgv").read_bytes()
            sent[name] = [(kind, int(size)) for kind, size in map(str.split, told.read_text().splitlines())]
            told.unlink()
            # Steps come by way of an actor; without it the encode goes on.
            assert bool(steps) == (name == "seen")
            steps.clear()
    finally:
        ray.shutdown()
    assert all(kind == "_UnreadJob" and size < frame_bytes / 4 for kind, size in sent["seen"])
    # Four are under way before the first of them has said that it cannot.
    kinds = [kind for kind, _ in sent["gone"]]
    assert kinds.count("GopJob") == len(sent["seen"])
    assert 1 <= kinds.count("_UnreadJob") <= 4
