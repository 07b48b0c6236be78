//! What users ask for and Connect lacks, under names of our own (`io.klamm.transforms`).

mod event_pattern;
mod json_text;
mod set_field;
mod template;

use klamm_connect_api::TransformPlugin;

use crate::part::key_and_value;

pub(crate) use self::event_pattern::predicate;

pub(crate) fn transforms() -> Vec<TransformPlugin> {
    let double = [
        key_and_value::<json_text::ParseJson>(
            "io.klamm.transforms.ParseJson$Key",
            "io.klamm.transforms.ParseJson$Value",
        ),
        key_and_value::<json_text::WriteJson>(
            "io.klamm.transforms.WriteJson$Key",
            "io.klamm.transforms.WriteJson$Value",
        ),
        key_and_value::<set_field::SetField>("io.klamm.transforms.SetField$Key", "io.klamm.transforms.SetField$Value"),
    ];
    double.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
