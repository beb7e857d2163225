--- The names of ffmpeg's options that a script may use as keys, so that a slip is caught before
--- ffmpeg starts.
--
-- These are ffmpeg's own options, the generic ones of codecs and formats, and the private ones of
-- the encoders, muxers and protocols that people use. What is not here goes through `args={"-name",
-- "value"}`. A key may carry a stream specifier behind a colon: ["b:v"], ["metadata:s:a:0"].
--
-- SPDX-License-Identifier: MIT

local M = {}

local KNOWN = [[
  accurate_seek abort_on adrift_threshold af aframes an apad apre aq ar aspect async atag attach
  autorotate autoscale auto_conversion_filters ac acodec ab absf bitexact bits_per_raw_sample bsf
  c canvas_size ch_layout channel_layout chroma_intra_matrix codec copyinkf copypriorss copytb
  copyts copy_unknown dcodec debug_ts dframes disposition discard dn dts_delta_threshold
  dts_error_threshold dump_attachment enc_time_base f filter filter_complex_threads
  filter_hw_device filter_script filter_threads find_stream_info fix_sub_duration force_fps
  force_key_frames fpre fps_mode fpsmax frame_drop_threshold frames fs guess_layout_max hwaccel
  hwaccel_device hwaccel_output_format ignore_unknown init_hw_device inter_matrix intra_matrix
  isync itsoffset itsscale map map_channel map_chapters map_metadata max_alloc max_error_rate
  max_muxing_queue_size metadata muxdelay muxing_queue_data_threshold muxpreload pass passlogfile
  pix_fmt pre program psnr q qscale qsv_device r rc_override re readrate recast_media
  reinit_filter s sample_fmt scodec sdp_file seek_timestamp shortest shortest_buf_duration sn spre
  ss sseof stag start_at_zero stream_loop streamid t tag target thread_queue_size time_base
  timecode timelimit timestamp to top vaapi_device vb vbsf vcodec vf vframes vn vol vpre vstats
  vstats_file vstats_version vsync vtag xerror

  b bt flags flags2 export_side_data g cutoff frame_size qcomp qblur qmin qmax qdiff bf b_qfactor
  bug strict b_qoffset err_detect maxrate minrate bufsize i_qfactor i_qoffset dct lumi_mask
  tcplx_mask scplx_mask p_mask dark_mask idct ec sar debug dia_size last_pred pre_dia_size subq
  me_range global_quality mbd rc_init_occupancy threads dc nssew skip_top skip_bottom profile
  level lowres cmp subcmp mbcmp ildctcmp precmp mblmin mblmax skip_loop_filter skip_idct
  skip_frame bidir_refine keyint_min refs trellis mv0_threshold compression_level
  request_channel_layout rc_max_vbv_use rc_min_vbv_use ticks_per_frame color_primaries color_trc
  colorspace color_range chroma_sample_location slices thread_type audio_service_type
  request_sample_fmt sub_charenc sub_charenc_mode sub_text_format apply_cropping skip_alpha
  field_order dump_separator codec_whitelist max_pixels max_samples hwaccel_flags extra_hw_frames
  discard_damaged_percentage

  avioflags probesize formatprobesize packetsize fflags seek2any analyzeduration cryptokey
  indexmem rtbufsize fdebug max_delay start_time_realtime fpsprobesize audio_preload
  chunk_duration chunk_size f_err_detect use_wallclock_as_timestamps skip_initial_bytes
  correct_ts_overflow flush_packets metadata_header_padding output_ts_offset max_interleave_delta
  f_strict max_ts_probe avoid_negative_ts format_whitelist protocol_whitelist protocol_blacklist
  max_streams skip_estimate_duration_from_pts max_probe_packets

  preset tune crf crf_max qp fastfirstpass wpredp a53cc x264opts x264-params x265-params aq-mode
  aq-strength psy psy-rd rc-lookahead weightb weightp ssim intra-refresh bluray-compat b-bias
  b-pyramid mixed-refs 8x8dct fast-pskip aud mbtree deblock cplxblur partitions direct-pred
  slice-max-size nal-hrd avcintra-class me_method motion-est forced-idr coder b_strategy
  chromaoffset sc_threshold noise_reduction udu_sei deadline cpu-used row-mt tile-columns
  tile-rows frame-parallel auto-alt-ref lag-in-frames arnr-maxframes arnr-strength arnr-type
  error-resilient static-thresh drop-threshold undershoot-pct overshoot-pct lossless tune-content
  quality speed sharpness svtav1-params aom-params usage still-picture la_depth tier tiles rc cq
  multipass spatial-aq temporal-aq zerolatency look_ahead rc_mode pred vendor quant_mat quality
  prediction mpv_flags sw_sws_flags sws_flags swr_flags aac_coder aac_ms aac_is aac_pns aac_tns
  vbr abr reservoir joint_stereo application frame_duration packet_loss fec mapping_family
  lpc_type ch_mode dialnorm movflags moov_size frag_duration min_frag_duration frag_size
  video_track_timescale brand use_editlist write_tmcd empty_hdlr_name movie_timescale
  encryption_scheme encryption_key encryption_kid id3v2_version write_id3v1 write_xing write_bext
  rf64 reserve_index_space cues_to_front cluster_size_limit cluster_time_limit default_mode live
  dash start_number hls_time hls_init_time hls_list_size hls_delete_threshold hls_base_url
  hls_segment_filename hls_segment_options hls_segment_size hls_key_info_file hls_enc hls_enc_key
  hls_enc_key_url hls_enc_iv hls_segment_type hls_fmp4_init_filename hls_flags hls_playlist_type
  hls_start_number_source hls_allow_cache hls_subtitle_path hls_ts_options strftime strftime_mkdir
  var_stream_map cc_stream_map master_pl_name master_pl_publish_rate method http_user_agent
  http_persistent ignore_io_errors headers segment_format segment_format_options segment_list
  segment_list_flags segment_list_size segment_list_type segment_atclocktime segment_time
  segment_time_delta segment_times segment_frames segment_wrap segment_start_number
  segment_list_entry_prefix increment_tc break_non_keyframes individual_header_trailer
  write_empty_segments reset_timestamps initial_offset reference_stream adaptation_sets
  window_size extra_window_size seg_duration remove_at_exit use_template use_timeline single_file
  single_file_name init_seg_name media_seg_name utc_timing_url hls_playlist hls_master_name
  streaming format_options dash_segment_type ldash lhls mpegts_flags mpegts_service_id
  mpegts_service_type mpegts_transport_stream_id mpegts_copyts mpegts_original_network_id
  mpegts_pmt_start_pid mpegts_start_pid mpegts_m2ts_mode muxrate pcr_period pat_period sdt_period
  pes_payload_size tables_version omit_video_pes_length update frame_pts atomic_writing loop
  final_delay plays syncpoints write_index fifo_options use_fifo onfail

  pattern_type start_number_range ts_from_file framerate pixel_format video_size loop safe
  auto_convert sample_rate channels input_format list_formats draw_mouse show_region follow_mouse
  ignore_editlist ignore_loop seekable reconnect reconnect_at_eof reconnect_on_network_error
  reconnect_on_http_error reconnect_streamed reconnect_delay_max user_agent referer cookies
  auth_type http_proxy content_type post_data multiple_requests icy location offset end_offset
  listen timeout rw_timeout listen_timeout send_buffer_size recv_buffer_size tcp_nodelay
  rtsp_transport rtsp_flags allowed_media_types reorder_queue_size buffer_size overrun_nonfatal
  fifo_size pkt_size ttl localaddr ca_file tls_verify cert_file key_file verifyhost
  allowed_extensions live_start_index max_reload prefer_x_start http_multiple extension_picky
  rtmp_live rtmp_app rtmp_playpath rtmp_buffer rtmp_conn latency passphrase pbkeylen mode graph
  graph_file dumpgraph
]]

--- What jobrun writes itself, and the key that stands for it.
M.ours = {
  i = "input",
  y = "overwrite=true",
  n = "overwrite=false",
  filter_complex_script = "filter_complex",
  lavfi = "filter_complex",
  loglevel = "on_report",
  v = "on_report",
  report = "on_report",
  stats = "on_progress",
  nostats = "on_progress",
}

local known
---The set of known names.
---@return table<string, boolean>
function M.known()
  if not known then
    known = {}
    for name in KNOWN:gmatch("%S+") do known[name] = true end
  end
  return known
end

---True if `key` is a known option, with or without a stream specifier.
---@param key string
---@return boolean
function M.is_known(key)
  return M.known()[key:match("^[^:]*")] or false
end

return M
