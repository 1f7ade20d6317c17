"""Power rails of a Jetson, as its power monitors measure them.

INA3221 (three channels; Documentation/hwmon/ina3221.rst): in1..3_input in mV, curr1..3_input in mA. INA238 (Thor's
input; Documentation/hwmon/ina238.rst): power1_input in microwatts.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

from ..files import Files

HWMON = "/sys/class/hwmon/hwmon*"
WHOLE_BOARD = ("VDD_IN", "VIN", "POM_5V_IN")
"""Rails that feed all others, so that nothing must be added: Orin Nano/NX and Xavier NX, Thor, Nano."""


class Rail(NamedTuple):
    """One rail and the files of its power: one in microwatts, or one in mV and one in mA."""

    name: str
    microwatts: Optional[str] = None
    millivolts: str = ""
    milliamperes: str = ""

    def milliwatts(self, files: Files) -> Optional[float]:
        """Read the rail's power now; None if its monitor does not answer."""
        if self.microwatts is not None:
            power = files.number(self.microwatts)
            return None if power is None else power / 1000
        voltage, current = files.number(self.millivolts), files.number(self.milliamperes)
        return None if voltage is None or current is None else voltage * current / 1000


def find_rails(files: Files) -> List[Rail]:
    """List the rails that are connected and can be read."""
    found = []
    for monitor in files.find(HWMON):
        kind = files.text(monitor + "/name")
        if kind == "ina3221":
            # Channels 4 to 7 are shunt voltages and their sum, not rails.
            for n in (1, 2, 3):
                name = files.text("%s/in%d_label" % (monitor, n))
                if name and name != "NC":
                    voltage, current = "%s/in%d_input" % (monitor, n), "%s/curr%d_input" % (monitor, n)
                    found.append(Rail(name, None, voltage, current))
        elif kind in ("ina238", "ina237"):
            found.append(Rail(files.text(monitor + "/label") or "VIN", monitor + "/power1_input"))
    return [rail for rail in found if rail.milliwatts(files) is not None]


def board_rails(rails: List[Rail]) -> List[Rail]:
    """Choose the rails whose sum is what the board draws: the one that feeds all others, else all of them."""
    whole = [rail for name in WHOLE_BOARD for rail in rails if rail.name == name]
    return whole[:1] or rails


def rails_milliwatts(files: Files) -> Dict[str, float]:
    """Read all rails by name."""
    found = {}
    for rail in find_rails(files):
        power = rail.milliwatts(files)
        if power is not None:
            found[rail.name] = round(power, 1)
    return found
