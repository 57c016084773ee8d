"""Writes the table that pytorch-forecasting's tests load from the internet: its columns, and made-up numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_forecasting

DAYS = (
    *("easter_day", "good_friday", "new_year", "christmas", "labor_day", "independence_day"),
    *("revolution_day_memorial", "regional_games", "fifa_u_17_world_cup", "football_gold_cup"),
    *("beer_capital", "music_fest"),
)


def table(agencies: int = 25, skus: int = 14, months: int = 60) -> pd.DataFrame:
    """A demand for each agency, product and month, which the price and the season explain in part."""
    draw = np.random.default_rng(0)
    dates = pd.date_range("2013-01-01", periods=months, freq="MS")
    days = {day: draw.random(months) < 0.1 for day in DAYS}
    heat = 24 + 6 * np.sin(np.arange(months) * np.pi / 6)
    parts = []
    for number in range(agencies * skus):
        price = 1000 + 400 * draw.random() + 20 * draw.standard_normal(months).cumsum()
        off = 100 * draw.random(months)
        level = np.exp(2 + 3 * draw.random())
        volume = level * np.exp(0.3 * np.sin(np.arange(months) * np.pi / 6) + 0.2 * draw.standard_normal(months))
        parts.append(
            pd.DataFrame(
                {
                    "agency": f"Agency_{number // skus + 1:02d}",
                    "sku": f"SKU_{number % skus + 1:02d}",
                    "volume": np.where(draw.random(months) < 0.02, 0.0, volume),
                    "date": dates,
                    "industry_volume": draw.integers(400_000_000, 700_000_000, months),
                    "soda_volume": draw.integers(600_000_000, 900_000_000, months),
                    "avg_max_temp": heat + draw.standard_normal(months),
                    "price_regular": price,
                    "price_actual": price - off,
                    "discount": off,
                    "avg_population_2017": int(draw.integers(10_000, 3_000_000)),
                    "avg_yearly_household_income_2017": int(draw.integers(90_000, 250_000)),
                    **{day: flag.astype(np.int64) for day, flag in days.items()},
                    "discount_in_percent": 100 * off / price,
                    "timeseries": number,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    made = table()
    categories = dict.fromkeys(("agency", "sku", *DAYS), "category")
    made.astype(categories).to_parquet(Path(pytorch_forecasting.__file__).parent / "data" / "stallion.parquet")
