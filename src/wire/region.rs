//! The regions that are known by name, for whoever has misspelt one.
//!
//! Nothing is refused for not being here: the service opens regions without asking us.

/// The public regions, as the documentation of the service lists them.
const REGIONS: [&str; 24] = [
    "ap-bangkok",
    "ap-beijing",
    "ap-beijing-1",
    "ap-beijing-fsi",
    "ap-chengdu",
    "ap-chongqing",
    "ap-guangzhou",
    "ap-hongkong",
    "ap-jakarta",
    "ap-mumbai",
    "ap-nanjing",
    "ap-seoul",
    "ap-shanghai",
    "ap-shanghai-fsi",
    "ap-shenzhen-fsi",
    "ap-singapore",
    "ap-taipei",
    "ap-tokyo",
    "eu-frankfurt",
    "eu-moscow",
    "na-ashburn",
    "na-siliconvalley",
    "na-toronto",
    "sa-saopaulo",
];

/// Whether there is a region of that name as far as is known.
pub fn is_known(name: &str) -> bool {
    REGIONS.contains(&name)
}

/// The known region whose name is nearest to `name`, by the letters that would have to be typed otherwise.
pub fn nearest(name: &str) -> &'static str {
    // A city alone, as `guangzhou` or `ap-gz`, is nearest to the name that ends in it.
    let distance = |region: &&str| {
        let city = region.split_once('-').map_or(*region, |(_, city)| city);
        strsim::damerau_levenshtein(region, name).min(strsim::damerau_levenshtein(city, name))
    };
    REGIONS.into_iter().min_by_key(distance).unwrap_or(REGIONS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let table = [
            ("ap-guangzou", "ap-guangzhou"),
            ("ap-beijng", "ap-beijing"),
            ("guangzhou", "ap-guangzhou"),
            ("ap-shangahi", "ap-shanghai"),
            ("eu-frankfort", "eu-frankfurt"),
            ("us-siliconvalley", "na-siliconvalley"),
            ("ap-singapur", "ap-singapore"),
        ];
        for (name, expected) in table {
            assert_eq!(nearest(name), expected, "{name}");
            assert!(!is_known(name) && is_known(expected));
        }
    }
}
