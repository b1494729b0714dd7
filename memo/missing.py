"""Are models missing at random? Which side of the coins the splits are on that have no losses."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from memo.contrasts import contrast

if TYPE_CHECKING:
    from memo.campaign import Campaign


def missing_by_coin(campaign: "Campaign", rule: str) -> pd.DataFrame:
    """See `Campaign.missing_by_coin`."""
    from scipy.stats import hypergeom

    splits = range(campaign.config.design.splits)
    missing = sorted(set(splits) - set(campaign.trained_splits()))
    groups = campaign.scored_groups(rule)
    coins = contrast(*campaign.decisions(), campaign.units, groups)
    inside, outside = coins.treated & coins.valid, ~coins.treated & coins.valid
    planned_in, planned_out = inside.sum(axis=0), outside.sum(axis=0)
    missing_in, missing_out = inside[missing].sum(axis=0), outside[missing].sum(axis=0)
    law = hypergeom(planned_in + planned_out, planned_in, missing_in + missing_out)
    tail = np.minimum(law.cdf(missing_in), law.sf(missing_in - 1))
    table = pd.DataFrame(
        {
            "group_id": groups.ids,
            "planned_in": planned_in,
            "planned_out": planned_out,
            "missing_in": missing_in,
            "missing_out": missing_out,
            "p_value": np.minimum(1.0, 2 * tail),
        }
    )
    return table[missing_in + missing_out > 0].sort_values("p_value", kind="stable", ignore_index=True)
