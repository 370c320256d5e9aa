"""Programs that throw what nobody means at the fabric, for as long as one likes."""
