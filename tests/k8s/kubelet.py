"""What a kubelet makes of a container: its environment, its command, its files. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.k8s.manifests import Manifests, Object, name_of, pod_of

# $(NAME), and $$(NAME) for a literal one (API reference, EnvVar.value).
_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z_][A-Za-z0-9_]*)\))")


@dataclass(frozen=True)
class Started:
    """One container of one Pod."""

    pod: str
    pod_ip: str
    workload: Object
    container: Object
    environment: dict[str, str]
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.container["name"])


class MissingReferenceError(AssertionError):
    """A ConfigMap, Secret or key that a container names and nobody has."""


class Kubelet:
    """Starts containers of these manifests; `secrets` are name → key → value."""

    def __init__(self, manifests: Manifests, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._config_maps = {name_of(o): o["data"] for o in manifests.of_kind("ConfigMap")}
        self._secrets = secrets

    def start(self, workload: Object, container: Object, pod: str, pod_ip: str) -> Started:
        """Raise MissingReferenceError where the Pod would stay in CreateContainerConfigError."""
        environment = self._environment(container, pod, pod_ip)
        command = [*container["command"], *container.get("args", [])]
        return Started(
            pod,
            pod_ip,
            workload,
            container,
            environment,
            tuple(expand(word, environment) for word in command),
            self._files(workload, container),
            self._directories(workload, container),
        )

    def _environment(self, container: Object, pod: str, pod_ip: str) -> dict[str, str]:
        from_maps: dict[str, str] = {}
        for source in container.get("envFrom", []):
            from_maps |= self._config_map(source["configMapRef"]["name"])
        # References see only what stands in `env` above them, not what envFrom brings.
        own: dict[str, str] = {}
        fields = {"status.podIP": pod_ip, "metadata.name": pod}
        for entry in container.get("env", []):
            own[entry["name"]] = self._value(entry, own, fields)
        return from_maps | own

    def _value(self, entry: Object, own: Mapping[str, str], fields: Mapping[str, str]) -> str:
        source = entry.get("valueFrom")
        if source is None:
            return expand(entry["value"], own)
        if "fieldRef" in source:
            return fields[source["fieldRef"]["fieldPath"]]
        if "secretKeyRef" in source:
            return self._secret(**source["secretKeyRef"])
        reference = source["configMapKeyRef"]
        return self._config_map(reference["name"])[reference["key"]]

    def _config_map(self, name: str) -> dict[str, str]:
        if name not in self._config_maps:
            raise MissingReferenceError(f"no ConfigMap {name}")
        return dict(self._config_maps[name])

    def _secret(self, name: str, key: str) -> str:
        if key not in self._secrets.get(name, {}):
            raise MissingReferenceError(f"no Secret {name} with {key}")
        return self._secrets[name][key]

    def _files(self, workload: Object, container: Object) -> dict[str, str]:
        files = {}
        for mount, volume in self._mounts(workload, container):
            for name, text in self._contents(volume).items():
                files[f"{mount}/{name}"] = text
        return files

    def _contents(self, volume: Object) -> dict[str, str]:
        if "configMap" in volume:
            return self._config_map(volume["configMap"]["name"])
        if "secret" in volume:
            secret = volume["secret"]
            items = secret["items"]
            return {i["path"]: self._secret(secret["secretName"], i["key"]) for i in items}
        return {}

    def _directories(self, workload: Object, container: Object) -> tuple[str, ...]:
        return tuple(mount for mount, _ in self._mounts(workload, container))

    def _mounts(self, workload: Object, container: Object) -> list[tuple[str, Object]]:
        volumes = {v["name"]: v for v in pod_of(workload).get("volumes", [])}
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            volumes[name_of(claim)] = claim
        return [(m["mountPath"], volumes[m["name"]]) for m in container.get("volumeMounts", [])]


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known; left as it is elsewhere, as Kubernetes does."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else known.get(name, match[0])

    return _REFERENCE.sub(value, text)
